"""``authsvc key`` as a process of its own, beside a service that runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from authsvc.nkey import KeyPair, Prefix
from authsvc.server.settings import load
from authsvc.server.store import open_store
from tests.cli.shell import Ran, authsvc
from tests.fixtures.authsvc import LiveService, live_service


class Shell:
    """Runs commands against one service."""

    def __init__(self, service: LiveService, api_key: str) -> None:
        self.service = service
        self.env = {
            "AUTHSVC_URL": service.url,
            "AUTHSVC_API_KEY": api_key,
            "AUTHSVC_DATA_DIR": str(service.settings.data_dir),
            "AUTHSVC_DATABASE_URL": service.settings.database_url,
            "NO_COLOR": "1",
        }

    async def __call__(self, *arguments: str, stdin: str = "", **env: str) -> Ran:
        return await authsvc("key", *arguments, env={**self.env, **env}, stdin=stdin.encode())


@pytest.fixture
async def shell(tmp_path: Path, sqlite_url: str) -> AsyncIterator[Shell]:
    async with live_service(tmp_path / "data", sqlite_url) as service:
        yield Shell(service, await service.api_key("keys:rotate"))


async def test_list_rotate_retire(shell: Shell) -> None:
    await shell.service.login("alice@example.com")
    plain = await shell("list")
    assert plain.code == 0, plain.err
    assert plain.out.splitlines()[0].split()[:3] == ["owner", "purpose", "account"]
    assert "signs" in plain.out
    assert "\x1b" not in plain.out
    rotated = await shell("rotate", "--json")
    assert rotated.code == 0, rotated.err
    assert rotated.json["propagation"]["state"] == "applied"
    refused = await shell("retire")
    assert refused.code == 3
    assert "alice@example.com" in refused.err
    assert "--yes" in refused.err
    done = await shell("retire", "--yes")
    assert (done.code, done.out.splitlines()[1]) == (0, "every nats-server holds it")
    listed = (await shell("list", "--retired", "--json")).json["items"]
    signing = [it for it in listed if (it["account"], it["purpose"]) == ("people", "signing")]
    assert [it["state"] for it in signing] == ["retired", "active"]


async def test_nothing_changes_by_a_dry_run(shell: Shell, tmp_path: Path) -> None:
    before = (await shell("list", "--json")).json
    signs = next(
        it for it in before["items"] if (it["account"], it["purpose"]) == ("people", "signing")
    )["public_key"]
    for arguments, said in (
        (("rotate",), f"would make a signing key for people and let it sign in place of {signs}"),
        (("rotate", "--step", "prepare", "--account", "mail"), "prepare it beside A"),
        (("export", "operator", "--output", str(tmp_path / "o.nk")), "would write O"),
        (("remove", "operator"), "was never exported, and would be lost"),
        (("rotate-master",), "would change the master key in "),
    ):
        ran = await shell(*arguments, "--dry-run")
        assert (ran.code, said in ran.out) == (0, True), ran
    for wrong in ("retire", "rotate --step activate", "rotate --account x"):
        assert (await shell(*wrong.split(), "--dry-run")).code == 1
    assert (await shell("list", "--json")).json == before
    assert not (tmp_path / "o.nk").exists()
    assert (await shell("rotate", "--yes")).code == 0
    tried = await shell("retire", "--dry-run", "--json")
    assert (tried.code, tried.json["about"]["public_key"]) == (0, signs)


async def test_exit_codes(shell: Shell) -> None:
    assert (await shell("rotate", "--step", "activate")).code == 1
    assert (await shell("rotate", "--step", "sideways")).code == 2
    weak = await shell.service.api_key("users:read")
    assert (await shell("rotate", AUTHSVC_API_KEY=weak)).code == 3
    assert (await shell("list", AUTHSVC_URL="http://127.0.0.1:1")).code == 4
    missing = await shell("export", "operator", "--output", "x", "--yes", "--data-dir", "/nowhere")
    assert missing.code == 4


async def test_the_identity_key_leaves_and_comes_back(shell: Shell, tmp_path: Path) -> None:
    operator = shell.service.running.material.operator
    file = tmp_path / "operator.nk"
    asked = await shell("export", "operator", "--output", str(file))
    assert (asked.code, file.exists()) == (3, False)
    exported = await shell("export", "operator", "--output", str(file), "--yes", "--json")
    assert exported.json == {"public_key": operator, "output": str(file)}
    assert file.stat().st_mode & 0o777 == 0o600
    assert KeyPair.from_seed(file.read_text().strip(), Prefix.OPERATOR).public.text == operator
    assert (await shell("remove", "operator-identity")).code == 0
    other = KeyPair.generate(Prefix.OPERATOR)
    strange = await shell("import", "-", stdin=other.seed)
    assert (strange.code, "no key of this service" in strange.err) == (1, True)
    assert other.seed not in strange.err + strange.out
    assert (await shell("import", str(file), "--json")).json == {"public_key": operator}


async def test_the_service_runs_without_the_identity_key(tmp_path: Path, sqlite_url: str) -> None:
    """Restart, log in, revoke, rotate: none of it needs the operator's identity key."""
    async with live_service(tmp_path / "data", sqlite_url) as service:
        shell = Shell(service, await service.api_key("keys:rotate"))
        assert (await shell("remove", "operator-identity", "--yes")).code == 0
    async with live_service(tmp_path / "data", sqlite_url) as service:
        shell = Shell(service, await service.api_key("keys:rotate"))
        body = (await service.login("alice@example.com")).json()
        key = service.keys["alice@example.com"]
        assert (await service.renew(body["jwt"], key)).status_code == 201
        assert (await shell("rotate")).code == 0
        revoked = await service.call(
            "DELETE", f"/v1/credentials/{body['id']}", "DPoP", body["jwt"], key
        )
        assert revoked.json()["propagation"]["state"] == "applied", revoked.text


async def test_the_master_key_changes_beside_the_service(shell: Shell) -> None:
    changed = await shell("rotate-master", "--json")
    assert changed.code == 0, changed.err
    # Ten private keys, and the audit's key and head.
    assert changed.json["sealed"] == 12
    assert (await shell.service.login("alice@example.com")).status_code == 201
    assert (await shell("rotate")).code == 0


async def test_a_master_key_file_beside_postgresql_asks(tmp_path: Path, postgres_url: str) -> None:
    """Another replica may have a copy of the file."""
    settings = load(data_dir=tmp_path, database_url=postgres_url)
    async with open_store(settings):
        pass
    env = {"AUTHSVC_DATABASE_URL": postgres_url, "AUTHSVC_DATA_DIR": str(tmp_path)}
    before = (tmp_path / "master.key").read_text()
    asked = await authsvc("key", "rotate-master", env=env)
    assert (asked.code, "--yes" in asked.err) == (3, True)
    assert (tmp_path / "master.key").read_text() == before
    assert (await authsvc("key", "rotate-master", "--yes", env=env)).code == 0
    assert (tmp_path / "master.key").read_text() != before
