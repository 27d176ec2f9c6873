"""``authsvc nats``: as a process, against a live service."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from authsvc.server.provision.binary import find_nats_server
from tests.cli import shell
from tests.fixtures.authsvc import LiveService, live_service
from tests.fixtures.waiting import until


async def authsvc(*arguments: str, **environ: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    return await shell.authsvc(*arguments, env=environ)


@pytest.fixture
async def service(tmp_path: Path, sqlite_url: str) -> AsyncIterator[LiveService]:
    async with live_service(tmp_path / "data", sqlite_url) as started:
        yield started


async def test_status_and_push(service: LiveService) -> None:
    environ = {"AUTHSVC_URL": service.url, "AUTHSVC_API_KEY": await service.api_key("admin")}
    code, out, _ = await authsvc("nats", "status", **environ)
    assert code == 0
    assert "server   authsvc-nats     2.15.1   answers" in out
    assert "account  people           applied; 0 revocations" in out
    code, out, _ = await authsvc("nats", "push", "--json", **environ)
    assert (code, json.loads(out)["state"]) == (0, "applied")
    await service.supervisor.stop()
    await until(lambda: not service.running.reconciler.connected)
    code, out, _ = await authsvc("nats", "push", **environ)
    assert code == 4
    assert "pending, not on authsvc-nats" in out
    code, out, _ = await authsvc("nats", "status", "--json", **environ)
    assert code == 4
    assert json.loads(out)["connected"] is False
    weak = environ | {"AUTHSVC_API_KEY": await service.api_key("audit:read")}
    code, _, err = await authsvc("nats", "push", **weak)
    assert code == 3
    assert "nats:push" in err


async def test_three_configurations_for_a_cluster(tmp_path: Path) -> None:
    environ = {"AUTHSVC_DATA_DIR": str(tmp_path / "data")}
    routes = [word for n in "123" for word in ("--route", f"nats://n{n}:6222")]
    for name in ("n1", "n2", "n3"):
        config = tmp_path / f"{name}.conf"
        code, out, err = await authsvc(
            *("nats", "config", "--server-name", name, "--cluster", "c1", "--private-network"),
            *("--store-dir", str(tmp_path / name), "--output", str(config), *routes),
            **environ,
        )
        assert (code, out, err) == (0, "", "")
        checked = await asyncio.create_subprocess_exec(
            find_nats_server().path, "-t", "-c", config, stderr=subprocess.PIPE
        )
        _, said = await checked.communicate()
        assert checked.returncode == 0, said
    texts = [(tmp_path / f"{name}.conf").read_text() for name in ("n1", "n2", "n3")]
    operators = {line for text in texts for line in text.splitlines() if "operator:" in line}
    assert len(operators) == 1
    code, _, err = await authsvc("nats", "config", "--cluster", "c1", *routes, **environ)
    assert code == 1
    assert "TLS with verified certificates" in err
