"""Names, subjects and what people type."""

from __future__ import annotations

import typer

from authsvc import subjects
from authsvc.cli.rpc_target import Target
from authsvc.errors import AuthsvcError
from authsvc.rpc._http.bridge_rules import Rules
from authsvc.rpc._syftbox.url import SyftUrl
from authsvc.rpc._wire.expiry import expiry_seconds
from authsvc.server.devices import spelt
from authsvc.server.engines import parse_url
from authsvc.server.provision.binary import Version
from authsvc.server.provision.external import host_port
from tests.security.decoders.decoder import Decoder, as_text

ID = "0" * 31 + "1"


def _username(text: str) -> str:
    """What is canonical stays so, and is legal in a subject."""
    name = subjects.username(text)
    assert subjects.username(name) == name
    assert subjects.untoken(subjects.token(name)) == name
    subjects.validate(f"requests.{subjects.token(name)}.>")
    return name


def _untoken(text: str) -> str:
    name = subjects.untoken(text)
    assert subjects.token(name) == text
    return name


def _request(text: str) -> subjects.Request:
    found = subjects.Request.parse(text)
    assert found.text == text
    return found


def _covers(text: str) -> bool:
    one, _, other = text.partition(" ")
    return subjects.covers(subjects.validate(one), subjects.validate(other))


DECODERS: dict[str, Decoder] = {
    "request's subject": Decoder(as_text(_request), (b"requests.a.b%2Ec.d.stored",)),
    "response's subject": Decoder(
        as_text(subjects.Response.parse), (f"responses.a.b.c.{ID}".encode(),)
    ),
    "subject": Decoder(as_text(subjects.validate), (b"a.*.>",)),
    "two subjects": Decoder(as_text(_covers), (b"a.*.> a.b.c", b"> *.a")),
    "token": Decoder(as_text(_untoken), (b"a%2Eb@x",)),
    "username": Decoder(as_text(_username), ("Zoë@example.com".encode(), b"a*b>c@x")),
    "app": Decoder(as_text(subjects.app_name), (b"chat",)),
    "syft URL": Decoder(as_text(SyftUrl.parse), (b"syft://a@x.com/app_data/chat/rpc/ping?a=b",)),
    "target of the command line": Decoder(
        as_text(Target.parse),
        (b"a@x.com/chat", b"syft://a@x.com/app_data/chat"),
        errors=(AuthsvcError, typer.BadParameter),
    ),
    "expiry": Decoder(as_text(expiry_seconds), (b"15m", b"1.5 h")),
    "user code": Decoder(as_text(spelt), (b"ABCD-EFGH",)),
    "database URL": Decoder(
        as_text(parse_url), (b"sqlite+aiosqlite:///a.db", b"postgresql+asyncpg://a:b@c:5/d?host=e")
    ),
    "version": Decoder(
        as_text(Version.parse), (b"nats-server: v2.14.3-RC.1",), errors=(ValueError,)
    ),
    "host and port": Decoder(as_text(host_port), (b"nats://[::1]:4222", b"h:1")),
    "rule of the bridge": Decoder(
        as_text(lambda text: Rules([text], [])), (b"GET /items/*/**", b"/a")
    ),
}
