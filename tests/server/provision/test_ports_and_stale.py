"""Ports that are chosen or taken, and what an earlier run left behind."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from authsvc.errors import StartRefused
from authsvc.server.provision import ports as ports_module
from authsvc.server.provision.ports import Listener, choose_port, ensure_free, holder
from authsvc.server.provision.stale import Claim, end_stale
from tests.fixtures.nats import HOST
from tests.server.provision.test_supervisor import SERVER, alive, greets, until_now, write_config


def test_a_claim_ends_with_its_holder(tmp_path: Path) -> None:
    with Claim(tmp_path), pytest.raises(StartRefused, match="Another authsvc"):
        Claim(tmp_path).take()
    with Claim(tmp_path):
        pass


def test_ports() -> None:
    port = choose_port(HOST)
    assert choose_port(HOST, 4222) == 4222
    assert choose_port(HOST, prefer=port) == port
    ensure_free([Listener("x", HOST, port)])
    assert holder(port) is None
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((HOST, port))
        taken.listen()
        assert choose_port(HOST, prefer=port) != port
        assert str(os.getpid()) in str(holder(port))


def test_chosen_ports_are_not_those_of_outgoing_connections() -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(choose_port(HOST) < first for _ in range(20))


def test_the_range_where_the_system_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports_module, "_RANGE_FILE", tmp_path / "absent")
    assert 15000 <= choose_port(HOST) <= 32767
    (tmp_path / "range").write_text("1024 65535")
    monkeypatch.setattr(ports_module, "_RANGE_FILE", tmp_path / "range")
    assert 15000 <= choose_port(HOST) <= 32767


async def test_another_process_with_the_old_pid_is_left_alone(tmp_path: Path) -> None:
    config, pid_file = tmp_path / "nats.conf", tmp_path / "nats-server.pid"
    write_config(tmp_path, 4222)
    with subprocess.Popen(["sleep", "600"]) as other:  # noqa: ASYNC220  at once
        pid_file.write_text(str(other.pid))
        assert await end_stale(pid_file, config) is None
        assert other.poll() is None
        other.kill()
    for content in ("", "x", "-1", "0", "1", "999999999"):
        pid_file.write_text(content)
        assert await end_stale(pid_file, config) is None
    assert await end_stale(tmp_path / "absent", config) is None


async def test_a_nats_server_with_another_configuration_is_left_alone(tmp_path: Path) -> None:
    port = choose_port(HOST)
    write_config(tmp_path, port)
    pid_file = tmp_path / "nats-server.pid"
    with subprocess.Popen(  # noqa: ASYNC220  at once
        [SERVER, "-c", tmp_path / "nats.conf", "-P", pid_file], stderr=subprocess.DEVNULL
    ) as other:
        until_now(lambda: greets(port))
        assert await end_stale(pid_file, tmp_path / "mine.conf") is None
        assert alive(other.pid)
        other.kill()
