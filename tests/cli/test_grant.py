"""``authsvc grant`` and ``explain`` as processes of their own."""

from __future__ import annotations

from tests.cli.shell import Shell


async def test_a_grant_and_what_it_allows(admin_shell: Shell) -> None:
    shell = admin_shell
    alice = {"username": "alice@example.com"}
    await shell.service.admin("POST", "/v1/admin/users", json=alice)
    asked = ("explain", "alice@example.com", "publish", "weather.berlin")
    no = await shell(*asked)
    assert (no.code, no.out.splitlines()[0]) == (
        1,
        "alice@example.com may not publish weather.berlin",
    )
    new = ("grant", "create", "--user", "alice@example.com", "--publish", "weather.>")
    tried = await shell.ok(*new, "--dry-run")
    assert "weather.>" in tried.out
    made = (await shell.ok(*new, "--note", "the team", "--json")).json
    yes = await shell.ok(*asked)
    assert made["id"] in yes.out
    listed = await shell.ok("grant", "list", "--user", "alice@example.com")
    assert listed.out.splitlines()[1].split()[:2] == ["alice@example.com", "weather.>"]
    refused = await shell("grant", "delete", made["id"])
    assert (refused.code, "weather.>" in refused.err) == (3, True)
    assert "would delete" in (await shell.ok("grant", "delete", made["id"], "--dry-run")).out
    gone = await shell.ok("grant", "delete", made["id"], "--yes")
    assert gone.out.splitlines()[1] == "every nats-server holds it"
    assert (await shell(*asked)).code == 1
    assert (await shell("grant", "delete", made["id"], "--yes")).code == 1


async def test_what_is_refused(admin_shell: Shell) -> None:
    shell = admin_shell
    bob = ("grant", "create", "--role", "r", "--subscribe", "requests.*.bob.x")
    refused = await shell(*bob)
    assert (refused.code, "--dangerous" in refused.err) == (3, True)
    assert (await shell.ok(*bob, "--dangerous", "--json")).json["dangerous"] is True
    assert (await shell("grant", "create", "--role", "r")).code == 2
    assert (
        await shell("grant", "create", "--role", "r", "--publish", "a..b", "--dry-run")
    ).code == 1
    assert (await shell("explain", "nobody@example.com", "both", "a")).code == 2
