"""How often nats-server collects its garbage, and that an operator's own word stands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from authsvc.server.provision.collection import environment, memory_bytes
from authsvc.server.provision.ports import choose_port
from tests.fixtures.nats import HOST
from tests.server.provision.test_supervisor import server_pid, supervisor, write_config


def test_it_is_said_where_nobody_says_otherwise() -> None:
    found = environment({"PATH": "/bin", "AUTHSVC_MASTER_KEY": "secret"})
    assert found == {"PATH": "/bin", "GOGC": "400", "GOMEMLIMIT": str(memory_bytes() // 2)}


@pytest.mark.parametrize("own", [{"GOGC": "100"}, {"GOGC": "off", "GOMEMLIMIT": "1GiB"}])
def test_an_operators_own_word_stands(own: dict[str, str]) -> None:
    assert environment(own) == own


def test_an_operators_own_limit_stands() -> None:
    assert environment({"GOMEMLIMIT": "1GiB"}) == {"GOGC": "400", "GOMEMLIMIT": "1GiB"}


def test_a_container_may_have_less(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    whole = memory_bytes(limit)
    assert whole > 1 << 28
    limit.write_text("max\n")
    assert memory_bytes(limit) == whole
    limit.write_text("268435456\n")
    assert memory_bytes(limit) == 1 << 28


@pytest.mark.parametrize("own", [None, "77"])
async def test_the_server_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str | None
) -> None:
    monkeypatch.delenv("GOGC", raising=False)
    if own is not None:
        monkeypatch.setenv("GOGC", own)
    port = choose_port(HOST)
    write_config(tmp_path, port)
    one = supervisor(tmp_path, port)
    await one.start()
    try:
        raw = Path(f"/proc/{server_pid(tmp_path)}/environ").read_bytes()
    finally:
        await one.stop()
    found = dict(line.split("=", 1) for line in os.fsdecode(raw).split("\0") if "=" in line)
    assert found["GOGC"] == (own or "400")
