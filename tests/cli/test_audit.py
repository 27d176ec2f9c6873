"""``authsvc audit`` as processes of its own, beside a service that runs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import typer
from sqlalchemy import text

from authsvc.cli import audit as commands
from authsvc.cli.audit_report import print_report, report_json
from authsvc.cli.commands import exit_code
from authsvc.cli.context import find_context
from authsvc.errors import ApiError, StartRefused, Unavailable
from authsvc.server.audit.anchor import Head
from authsvc.server.audit.sealing import seal
from authsvc.server.audit.verify import Problem, Report
from authsvc.server.database import Database
from authsvc.server.keystore import Keystore, verify_master_key
from tests.fixtures import forks
from tests.fixtures.authsvc import LiveService, live_service

Done = subprocess.CompletedProcess[bytes]


async def run(*arguments: str, **env: str) -> Done:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AUTHSVC_")}
    return await anyio.run_process([*forks.authsvc(), *arguments], check=False, env={**kept, **env})


async def verified(service: LiveService, *more: str) -> tuple[int, dict[str, Any]]:
    done = await run(
        *("audit", "verify", "--json", "--data-dir", str(service.settings.data_dir), *more),
        AUTHSVC_DATABASE_URL=service.settings.database_url,
    )
    assert done.returncode in {0, 1}, done.stderr.decode()
    return done.returncode, json.loads(done.stdout)


async def sql(service: LiveService, *statements: str) -> None:
    async with service.running.database.writing() as session:
        for statement in statements:
            await session.execute(text(statement))


async def test_verify_finds_a_change_while_the_service_runs(service: LiveService) -> None:
    for name in ("alice", "bob", "carol"):
        assert (await service.login(f"{name}@example.com")).status_code == 201
    assert await seal(service.running.database, service.running.keystore, 1) == 7
    assert (await service.login("dave@example.com")).status_code == 201
    code, found = await verified(service)
    assert (code, found["ok"], found["problems"]) == (0, True, [])
    assert found["events"] + found["unsealed"] == 9
    await sql(service, "UPDATE audit_events SET address = '10.0.0.1' WHERE seq = 3")
    code, found = await verified(service, "--expect", "1:" + "0" * 64)
    assert (code, found["ok"], found["found"]) == (1, False, 2)
    forked, changed = found["problems"]
    assert (forked["kind"], forked["batch"]) == ("chain-forked", 1)
    assert (changed["kind"], changed["batch"], changed["seq"]) == ("event-changed", 1, 3)
    assert changed["id"].startswith("evt_")


def test_verify_that_cannot_begin_makes_nothing(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says so otherwise than an audit that was changed: exit code 4."""
    folder = tmp_path / "none"
    with pytest.raises(Unavailable, match="no database"):
        commands.verify(data_dir=folder)
    monkeypatch.setenv("AUTHSVC_DATABASE_URL", sqlite_url)
    with pytest.raises(Unavailable, match="master key"):
        commands.verify(data_dir=folder)
    assert not folder.exists()
    monkeypatch.setenv("AUTHSVC_MASTER_KEY", "00" * 32)
    asyncio.run(_used_with_another_key(sqlite_url))
    with pytest.raises(Unavailable, match="master key"):
        commands.verify()
    monkeypatch.setenv("AUTHSVC_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(Unavailable, match="database"):
        commands.verify()
    monkeypatch.setenv("AUTHSVC_DATABASE_URL", "mysql://x")
    with pytest.raises(Unavailable, match="not supported"):
        commands.verify()
    with pytest.raises(typer.BadParameter):
        commands.verify(expect="1")
    assert exit_code(Unavailable()) == 4


async def _used_with_another_key(url: str) -> None:
    database = Database(url)
    await database.start()
    async with database.writing() as session:
        await verify_master_key(session, Keystore(b"k" * 32))
    await database.stop()


def test_a_report_says_where(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(batches=2, events=7, dropped=3, first_sealed_at=0, head=Head(2, "ab", 0))
    print_report(report)
    assert capsys.readouterr().out == (
        "7 events in 2 seals since 1970-01-01T00:00:00Z, 3 dropped by retention; 0 not sealed yet\n"
        "newest seal 2:ab\nthe audit is as it was sealed\n"
    )
    report.add(Problem("event-changed", "it is not what was sealed", 2, 8, "evt_1\x1b[2J"))
    report.found += 5
    print_report(report)
    shown = capsys.readouterr().out
    assert "event-changed   batch 2, seq 8, id evt_1\ufffd[2J: it is not" in shown
    assert "... and 5 more" in shown
    assert "THE AUDIT WAS CHANGED" in shown
    report.first_sealed_at = 10**15
    assert report_json(report)["first_sealed_at"] is None


@pytest.fixture
async def on_sqlite(tmp_path: Path, sqlite_url: str) -> AsyncIterator[LiveService]:
    """Which database it is does not matter to a command that calls the API."""
    async with live_service(tmp_path / "data", sqlite_url) as service:
        yield service


async def test_list_and_export_through_the_api(on_sqlite: LiveService, tmp_path: Path) -> None:
    service = on_sqlite
    body = (await service.login("alice@example.com")).json()
    key = await service.api_key("audit:read")
    env = {"AUTHSVC_URL": service.url, "AUTHSVC_API_KEY": key}
    done = await run("audit", "list", "--json", "--action", "credential.", **env)
    assert done.returncode == 0, done.stderr
    (item,) = json.loads(done.stdout)["items"]
    assert item["target"] == {"kind": "credential", "id": body["id"]}
    shown = await run("audit", "list", NO_COLOR="1", **env)
    assert shown.returncode == 0
    assert body["id"] in shown.stdout.decode()
    assert "\x1b" not in shown.stdout.decode()
    file = tmp_path / "audit.ndjson"
    done = await run("audit", "export", "--since", "2026-01-01", "--output", str(file), **env)
    assert (done.returncode, done.stdout) == (0, b"")
    items = [json.loads(line) for line in file.read_text().splitlines()]
    assert [it["action"] for it in items] == [
        *("operator.create", "user.create", "credential.issue")
    ]
    assert items[2] == item


async def test_what_is_refused_has_its_exit_code(on_sqlite: LiveService, tmp_path: Path) -> None:
    context = {"url": on_sqlite.url, "api_key": await on_sqlite.api_key("users:read")}
    (tmp_path / "context.json").write_text(json.dumps(context))
    refused = await run("audit", "list", "--data-dir", str(tmp_path))
    assert refused.returncode == 3
    assert b"audit:read" in refused.stderr
    assert (await run("audit", "list", "--since", "soon")).returncode == 2


def test_the_context_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "API_KEY", "API_KEY_FILE", "DATA_DIR"):
        monkeypatch.delenv(f"AUTHSVC_{name}", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with pytest.raises(Unavailable, match="authsvc up"):
        find_context()
    (tmp_path / "authsvc").mkdir()
    (tmp_path / "authsvc" / "context.json").write_text('{"url": "http://default", "api_key": "k"}')
    assert find_context().url == "http://default"
    monkeypatch.setenv("AUTHSVC_DATA_DIR", str(tmp_path / "d"))
    with pytest.raises(Unavailable):
        find_context()
    monkeypatch.setenv("AUTHSVC_URL", "http://env")
    with pytest.raises(StartRefused, match="AUTHSVC_API_KEY"):
        find_context()
    monkeypatch.setenv("AUTHSVC_API_KEY", "secret")
    found = find_context()
    assert (found.url, found.api_key) == ("http://env", "secret")
    assert "secret" not in repr(found)
    assert find_context(tmp_path / "authsvc").url == "http://default"
    (tmp_path / "authsvc" / "context.json").write_text("{}")
    with pytest.raises(StartRefused, match="authsvc up"):
        find_context(tmp_path / "authsvc")


@pytest.mark.parametrize(
    ("status", "code"), [(401, 3), (403, 3), (404, 1), (409, 1), (503, 4), (502, 4)]
)
def test_answers_of_the_service_have_exit_codes(status: int, code: int) -> None:
    assert exit_code(ApiError(status, {})) == code
