"""``authsvc audit`` as processes of its own, beside a service that runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from sqlalchemy import text

from authsvc.cli.commands import exit_code
from authsvc.cli.context import find_context
from authsvc.errors import ApiError, StartRefused, Unavailable
from authsvc.server.audit.sealing import seal
from tests.fixtures.authsvc import LiveService

AUTHSVC = [sys.executable, "-m", "authsvc"]
Done = subprocess.CompletedProcess[bytes]


async def run(*arguments: str, **env: str) -> Done:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AUTHSVC_")}
    return await anyio.run_process([*AUTHSVC, *arguments], check=False, env={**kept, **env})


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
    head = found["head"]
    assert (await verified(service, "--expect", head))[0] == 0
    await sql(service, "UPDATE audit_events SET address = '10.0.0.1' WHERE seq = 3")
    code, found = await verified(service, "--expect", "1:" + "0" * 64)
    assert (code, found["ok"], found["found"]) == (1, False, 2)
    assert [it["kind"] for it in found["problems"]] == ["chain-forked", "event-changed"]
    done = await run(
        *("audit", "verify", "--data-dir", str(service.settings.data_dir)),
        AUTHSVC_DATABASE_URL=service.settings.database_url,
    )
    assert done.returncode == 1
    (line,) = [it for it in done.stdout.decode().splitlines() if it.startswith("event-changed")]
    assert f"batch 1, seq 3, id {found['problems'][1]['id']}" in line
    assert "THE AUDIT WAS CHANGED" in done.stdout.decode()


async def test_verify_that_cannot_begin_says_4(tmp_path: Path, service: LiveService) -> None:
    url = service.settings.database_url
    refused = "postgresql://nobody@127.0.0.1:1/none"
    missing = await run("audit", "verify", "--data-dir", str(tmp_path / "none"))
    assert missing.returncode == 4
    assert not (tmp_path / "none").exists()
    away = await run("audit", "verify", AUTHSVC_DATABASE_URL=refused, AUTHSVC_MASTER_KEY="00" * 32)
    assert away.returncode == 4
    no_key = await run(
        "audit", "verify", "--data-dir", str(tmp_path / "none"), AUTHSVC_DATABASE_URL=url
    )
    assert no_key.returncode == 4
    assert b"master key" in no_key.stderr
    other = await run("audit", "verify", AUTHSVC_DATABASE_URL=url, AUTHSVC_MASTER_KEY="00" * 32)
    assert other.returncode == 4
    assert b"Traceback" not in missing.stderr + away.stderr + no_key.stderr + other.stderr
    assert (await run("audit", "verify", "--expect", "1")).returncode == 2


async def test_list_and_export_through_the_api(service: LiveService, tmp_path: Path) -> None:
    body = (await service.login("alice@example.com")).json()
    key = await service.api_key("audit:read")
    env = {"AUTHSVC_URL": service.url, "AUTHSVC_API_KEY": key}
    done = await run("audit", "list", "--json", "--action", "credential.", **env)
    assert done.returncode == 0, done.stderr
    (item,) = json.loads(done.stdout)["items"]
    assert item["target"] == {"kind": "credential", "id": body["id"]}
    shown = await run("audit", "list", NO_COLOR="1", FORCE_COLOR="1", **env)
    assert shown.returncode == 0
    assert body["id"] in shown.stdout.decode()
    assert "\x1b" not in shown.stdout.decode().replace("\x1b[1m", "").replace("\x1b[0m", "")
    file = tmp_path / "audit.ndjson"
    done = await run("audit", "export", "--since", "2026-01-01", "--output", str(file), **env)
    assert (done.returncode, done.stdout) == (0, b"")
    items = [json.loads(line) for line in file.read_text().splitlines()]
    assert [it["action"] for it in items] == [
        *("operator.create", "user.create", "credential.issue")
    ]
    assert items[2] == item
    assert datetime.fromisoformat(item["at"]).tzinfo is not None


async def test_what_is_refused_has_its_exit_code(service: LiveService, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(await service.api_key("users:read") + "\n")
    key_file = str(tmp_path / "key")
    refused = await run("audit", "list", AUTHSVC_URL=service.url, AUTHSVC_API_KEY_FILE=key_file)
    assert refused.returncode == 3
    assert b"audit:read" in refused.stderr
    away = await run("audit", "list", AUTHSVC_URL="http://127.0.0.1:1", AUTHSVC_API_KEY="x")
    assert away.returncode == 4
    (tmp_path / "context.json").write_text(json.dumps({"url": service.url, "api_key": "no"}))
    unknown = await run("audit", "export", "--data-dir", str(tmp_path))
    assert unknown.returncode == 3
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
