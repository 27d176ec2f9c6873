"""``authsvc user`` as a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.shell import Shell


async def test_create_list_show(admin_shell: Shell) -> None:
    shell = admin_shell
    tried = await shell.ok("user", "create", "Alice@Example.com", "--dry-run")
    assert tried.out == "would create Alice@Example.com\n"
    made = await shell.ok("user", "create", "Alice@Example.com", "--role", "weather")
    assert made.out.startswith("alice@example.com is there: usr_")
    again = await shell("user", "create", "alice@example.com")
    tried = await shell("user", "create", "alice@example.com", "--dry-run")
    assert [again.code, tried.code] == [1, 1]
    assert "alice@example.com already" in again.err
    assert "alice@example.com already" in tried.err
    robot = await shell.ok("user", "create", "a/b", "--service", "--max-payload", "2048", "--json")
    assert (robot.json["kind"], robot.json["max_payload"]) == ("service", 2048)
    listed = await shell.ok("user", "list")
    assert listed.out.splitlines()[0].split()[:2] == ["username", "state"]
    assert [line.split()[0] for line in listed.out.splitlines()[1:]] == ["a/b", "alice@example.com"]
    assert "\x1b" not in listed.out
    found = await shell.ok("user", "list", "ali", "--role", "weather", "--json")
    assert [it["username"] for it in found.json["items"]] == ["alice@example.com"]
    shown = await shell.ok("user", "show", "a/b")  # a path can't carry this name
    assert robot.json["id"] in shown.out
    assert "active credentials  0" in shown.out


async def test_disable_enable_delete(admin_shell: Shell) -> None:
    shell, service = admin_shell, admin_shell.service
    await service.login("alice@example.com")
    for command in ("disable", "delete"):
        refused = await shell("user", command, "alice@example.com")
        assert refused.code == 3
        assert "--yes" in refused.err
        tried = await shell.ok("user", command, "alice@example.com", "--dry-run")
        assert tried.out == f"would {command} alice@example.com, which has 1 live credential\n"
    assert (await service.admin("GET", "/v1/admin/users/alice@example.com")).json()["version"] == 1
    done = await shell.ok("user", "disable", "alice@example.com", "--yes")
    assert done.out.splitlines() == ["alice@example.com is disabled", "every nats-server holds it"]
    assert (await service.login("alice@example.com")).status_code == 403
    enabled = await shell.ok("user", "enable", "alice@example.com", "--json")
    assert enabled.json["propagation"]["state"] == "applied"
    assert (await service.login("alice@example.com")).status_code == 201
    gone = await shell.ok("user", "delete", "alice@example.com", "--yes")
    assert gone.out.splitlines()[0] == "alice@example.com is gone"
    assert (await shell("user", "show", "alice@example.com")).code == 1


async def test_change(admin_shell: Shell) -> None:
    shell = admin_shell
    name = "alice@example.com"
    await shell.service.admin(
        "POST", "/v1/admin/users", json={"username": name, "roles": ["a", "b"]}
    )
    roles = ("--add-role", "c", "--remove-role", "a")
    assert (await shell("user", "change", name, "--max-payload", "4096", *roles)).code == 3
    changed = await shell.ok(
        "user", "change", name, "--max-payload", "4096", *roles, "--yes", "--json"
    )
    assert (changed.json["roles"], changed.json["max_payload"]) == (["b", "c"], 4096)
    back = await shell.ok("user", "change", name, "--max-payload", "0", "--yes", "--json")
    assert back.json["max_payload"] is None
    assert (await shell("user", "change", name)).code == 2


async def test_import(admin_shell: Shell, tmp_path: Path) -> None:
    shell, file = admin_shell, tmp_path / "users.ndjson"
    lines = [b'{"username": "a@x"}', b"", b'{"username": "robot"}', b"no JSON"]
    lines += [b'{"username": "robot", "kind": "service", "roles": ["r"]}']
    file.write_bytes(b"\n".join(lines))
    tried = await shell("user", "import", str(file), "--dry-run")
    assert (tried.code, tried.out) == (1, "2 invalid, 2 valid\n")
    done = await shell("user", "import", str(file))
    # Nobody was created by --dry-run.
    assert (done.code, done.out) == (1, "2 created, 2 invalid\n")
    assert [line.split(":")[0] for line in done.err.splitlines()] == [
        "line 3 invalid",
        "line 4 invalid",
    ]
    again = await shell("user", "import", "-", "--json", stdin=b'{"username": "a@x"}\n')
    assert (again.code, again.json["status"]) == (0, "exists")
    # Wide enough for more than one piece of 64 KiB.
    wide = [json.dumps({"username": f"u{n}@x"}).encode().ljust(64) for n in range(1100)]
    many = b"\n".join(wide)
    assert (await shell("user", "import", "-", stdin=many)).out == "1100 created\n"
    listed = await shell.ok("user", "list")
    assert len(listed.out.splitlines()) == 1001
    assert "--limit" in listed.err
    weak = await shell.service.api_key("users:read")
    assert (await shell("user", "import", "-", stdin=many, AUTHSVC_API_KEY=weak)).code == 3
