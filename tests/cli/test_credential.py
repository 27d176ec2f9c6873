"""``authsvc credential`` as a process of its own."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from authsvc.claims import parse_creds
from authsvc.nkey import KeyPair, Prefix
from tests.cli.shell import Shell


async def test_a_secret_goes_where_it_is_asked_to(admin_shell: Shell, tmp_path: Path) -> None:
    shell, file = admin_shell, tmp_path / "robot.creds"
    robot = {"username": "robot", "kind": "service"}
    await shell.service.admin("POST", "/v1/admin/users", json=robot)
    tried = await shell.ok("credential", "issue", "robot", "--output", str(file), "--dry-run")
    assert (tried.out, file.exists()) == ("would issue robot\n", False)
    made = await shell.ok("credential", "issue", "robot", "--output", str(file), "--json")
    assert file.stat().st_mode & 0o777 == 0o600
    written = parse_creds(file.read_text())
    assert made.json["jwt"] == written.jwt
    assert made.json["public_key"] == written.key.public.text
    assert written.key.seed not in made.out + made.err
    refused = await shell("credential", "issue", "robot", "--out", str(file))
    assert (refused.code, "File exists" in refused.err) == (1, True)
    assert len((await shell.ok("credential", "list", "robot", "--json")).json["items"]) == 1
    other = tmp_path / "other"
    weak = await shell.service.api_key("users:read")
    denied = await shell(
        "credential", "issue", "robot", "--output", str(other), AUTHSVC_API_KEY=weak
    )
    assert (denied.code, other.exists()) == (3, False)
    shown = await shell.ok("credential", "issue", "robot")
    assert parse_creds(shown.out).key.seed not in shown.err
    key = KeyPair.generate(Prefix.USER).public.text
    own = await shell.ok("credential", "issue", "robot", "--public-key", key, "--ttl", "60")
    assert own.out.count(".") == 2
    log = (tmp_path / "data" / "log").rglob("*")
    seed = written.key.seed.encode()
    assert all(seed not in it.read_bytes() for it in log if it.is_file())


async def test_revoke(admin_shell: Shell) -> None:
    shell, service = admin_shell, admin_shell.service
    first = (await service.login("alice@example.com")).json()
    await service.login("alice@example.com")
    refused = await shell("credential", "revoke", first["id"])
    assert (refused.code, "alice@example.com" in refused.err) == (3, True)
    tried = await shell.ok("credential", "revoke", first["id"], "--dry-run", "--json")
    assert tried.json["about"]["state"] == "active"
    done = await shell.ok("credential", "revoke", first["id"], "--yes")
    assert done.out.splitlines()[1] == "every nats-server holds it"
    listed = await shell.ok("credential", "list", "--state", "revoked")
    assert first["id"] in listed.out
    user = ("--user", "alice@example.com")
    long_ago = datetime.fromtimestamp(time.time() - 3600, UTC).isoformat()
    older = await shell.ok("credential", "revoke", *user, "--before", long_ago, "--yes", "--json")
    assert older.json["revoked"] == 0
    rest = await shell.ok("credential", "revoke", *user, "--yes", "--json")
    assert rest.json["revoked"] == 1
    for wrong in ([], [first["id"], *user]):
        assert (await shell("credential", "revoke", *wrong)).code == 2
