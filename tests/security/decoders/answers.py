"""What nats-server answers and tells: read as ours, whoever may have made it."""

from __future__ import annotations

import json
import time

from authsvc.nkey import KeyPair, Prefix
from authsvc.server.provision import answers
from authsvc.server.provision.census import read_event, read_moment
from authsvc.server.provision.connections import read_page
from tests.security.decoders.decoder import Decoder, as_text
from tests.security.decoders.tokens import JWT

SERVER = {
    "name": "n1",
    "host": "h",
    "id": KeyPair(Prefix.SERVER, bytes(32)).public.text,
    "ver": "2.15.1",
    "time": "2026-01-01T00:00:00.123456789Z",
}
STATISTICS = {
    "connections": 3,
    "subscriptions": 9,
    "received": {"msgs": 5, "bytes": 50},
    "sent": {"msgs": 5, "bytes": 50},
    "slow_consumers": 0,
    "cpu": 0.5,
    "mem": 1000,
    "jetstream": {
        "config": {"max_memory": 1, "max_storage": 2},
        "stats": {"memory": 1, "storage": 2, "reserved_storage": 1, "reserved_memory": 0},
    },
}
CLIENT = {
    "start": "2026-01-01T00:00:00Z",
    "host": "127.0.0.1",
    "id": 7,
    "cid": 7,
    "user": "UX",
    "authorized_user": "UX",
    "jwt": JWT,
    "tags": ["credential:crd_1"],
    "rtt": "1m2.5ms",
    "in_msgs": 4,
    "lang": "go",
}


def _written(value: object) -> bytes:
    return json.dumps(value).encode()


DECODERS: dict[str, Decoder] = {
    "answer to a push": Decoder(
        answers.read_answer,
        (
            _written({"server": SERVER, "data": {"code": 200, "message": "jwt updated"}}),
            _written({"server": SERVER, "error": {"code": 500, "description": "no"}}),
        ),
    ),
    "server": Decoder(answers.read_server, (_written({"server": SERVER, "statsz": STATISTICS}),)),
    "statistics": Decoder(answers.read_statistics, (_written({"statsz": STATISTICS}),)),
    "operator of a server": Decoder(
        answers.read_operator, (_written({"data": {"trusted_operators_jwt": [JWT]}}),)
    ),
    "accounts of a server": Decoder(answers.read_list, (_written({"data": ["AX", "AY"]}),)),
    "connections of a server": Decoder(
        read_page, (_written({"server": SERVER, "data": {"total": 1, "connections": [CLIENT]}}),)
    ),
    "event of a connection": Decoder(
        lambda data: read_event(data, time.monotonic()),
        (_written({"server": SERVER, "client": CLIENT}),),
    ),
    "moment": Decoder(as_text(read_moment), (b"2026-01-01T00:00:00.123456789Z",)),
}
