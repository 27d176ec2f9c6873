"""``authsvc api-key`` as a process of its own."""

from __future__ import annotations

from pathlib import Path

from tests.cli.shell import Shell


async def test_a_key_from_creation_to_its_end(admin_shell: Shell, tmp_path: Path) -> None:
    shell, file = admin_shell, tmp_path / "ci.key"
    new = ("api-key", "create", "ci", "--scope", "users:read")
    await shell.ok(*new, "--output", str(file), "--dry-run")
    assert not file.exists()
    made = await shell.ok(*new, "--expires", "2099-01-31", "--output", str(file), "--json")
    assert (file.stat().st_mode & 0o777, "key" in made.json) == (0o600, False)
    text = file.read_text().strip()
    assert text not in made.out + made.err
    shown = await shell.ok(*new)
    assert shown.out.startswith("authsvc_")
    by_file = Shell(shell.service, "")
    by_file.env["AUTHSVC_API_KEY_FILE"] = str(file)
    await by_file.ok("user", "list")
    assert (await by_file("user", "create", "a@x")).code == 3
    listed = await shell.ok("api-key", "list")
    assert made.json["prefix"] in listed.out
    assert text not in listed.out
    refused = await shell("api-key", "revoke", made.json["id"])
    assert (refused.code, "ci" in refused.err) == (3, True)
    assert "would revoke" in (await shell.ok("api-key", "revoke", made.json["id"], "--dry-run")).out
    await shell.ok("api-key", "revoke", made.json["id"], "--yes")
    assert (await by_file("user", "list")).code == 3
    assert (await shell("api-key", "revoke", "key_none", "--yes")).code == 1
    assert (
        await shell("api-key", "create", "x", "--scope", "admin", "--expires", "soon")
    ).code == 2
