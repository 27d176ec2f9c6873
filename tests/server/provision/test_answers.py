"""What is no answer of nats-server's is none, and breaks nothing; tests/security fuzzes it too."""

from __future__ import annotations

import orjson
import pytest

from authsvc.errors import StartRefused
from authsvc.server.provision.answers import read_list
from authsvc.server.provision.connections import read_page
from authsvc.server.provision.external import host_port

SERVER = {"id": "NX", "name": "n1"}


@pytest.mark.parametrize("data", [1, True, "AX", {"a": 1}, [1, None], None])
def test_accounts_are_listed_or_there_are_none(data: object) -> None:
    assert read_list(orjson.dumps({"data": data})) == frozenset()


@pytest.mark.parametrize(
    "data",
    [
        {"total": "many", "connections": []},
        {"total": None},
        {"connections": [1]},
        {"connections": [{"cid": []}]},
        {"connections": [{"subscriptions": "x"}]},
        [],
    ],
)
def test_a_page_of_connections_that_is_none(data: object) -> None:
    assert read_page(orjson.dumps({"server": SERVER, "data": data})) is None


@pytest.mark.parametrize(
    ("rtt", "wanted"), [("1.2ms", 1.2), ("1m2.5s", 62_500.0), ("1.2.3ms", 2.3), ("x", None)]
)
def test_a_round_trip_is_read_or_is_none(rtt: str, wanted: float | None) -> None:
    found = read_page(orjson.dumps({"server": SERVER, "data": {"connections": [{"rtt": rtt}]}}))
    assert found is not None
    assert found.connections[0].rtt_ms == wanted


@pytest.mark.parametrize("port", ["", "x", "65536", "-1", "9" * 5000, "\u0661"])
def test_a_port_that_is_none(port: str) -> None:
    with pytest.raises(StartRefused):
        host_port(f"localhost:{port}")
