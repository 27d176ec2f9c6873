"""``authsvc enrolment-key`` as a process of its own."""

from __future__ import annotations

from pathlib import Path

from tests.cli.shell import Shell


async def test_a_key_from_creation_to_its_end(admin_shell: Shell, tmp_path: Path) -> None:
    shell, file = admin_shell, tmp_path / "sensor.key"
    new = ("enrolment-key", "create", "sensor-7", "--tag", "roof", "--expires-in", "3600")
    await shell.ok(*new, "--output", str(file), "--dry-run")
    assert not file.exists()
    made = await shell.ok(*new, "--output", str(file), "--json")
    assert (file.stat().st_mode & 0o777, "key" in made.json) == (0o600, False)
    text = file.read_text().strip()
    assert text not in made.out + made.err
    answer = await shell.service.login("sensor", token=text)
    assert (answer.status_code, answer.json()["username"]) == (201, "sensor-7")
    shown = await shell.ok("enrolment-key", "create", "--pattern", "crowd-*", "--unlimited")
    assert shown.out.startswith("authsvc_enrol_")
    listed = await shell.ok("enrolment-key", "list", "--tag", "roof")
    assert ("1 of 1" in listed.out, "crowd" in listed.out, text in listed.out) == (
        *(True, False),
        False,
    )
    key = made.json["id"]
    refused = await shell("enrolment-key", "revoke", key)
    assert (refused.code, "sensor-7" in refused.err) == (3, True)
    assert "would revoke" in (await shell.ok("enrolment-key", "revoke", key, "--dry-run")).out
    await shell.ok("enrolment-key", "revoke", key, "--yes")
    assert (await shell.ok("enrolment-key", "list", "--json")).json["items"][1]["state"] == (
        "revoked"
    )
    assert (await shell("enrolment-key", "revoke", "enk_none", "--yes")).code == 1
    assert (await shell("enrolment-key", "create")).code == 2
    assert (await shell("enrolment-key", "create", "a", "--pattern", "b*")).code == 2
