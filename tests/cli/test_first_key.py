"""The first API key of a service that ``authsvc serve`` runs, made in its database."""

from __future__ import annotations

from pathlib import Path

from tests.cli.shell import Shell


async def test_a_first_key_opens_the_service(admin_shell: Shell, tmp_path: Path) -> None:
    service, file = admin_shell.service, tmp_path / "me.key"
    settings = service.settings
    here = Shell(service, "")
    here.env = {
        "AUTHSVC_DATA_DIR": str(settings.data_dir),
        "AUTHSVC_DATABASE_URL": settings.database_url,
    }
    new = ("api-key", "create", "me", "--in-database")
    made = await here(*new, "--scope", "admin", "--output", str(file), "--json")
    assert made.code == 0, made.err
    assert "key" not in made.json
    assert file.stat().st_mode & 0o777 == 0o600
    mine = Shell(service, file.read_text().strip())
    assert (await mine.ok("status", "--json")).json["ready"] is True
    listed = await mine.ok("audit", "list", "--action", "api_key.create", "--json")
    (event,) = [it for it in listed.json["items"] if it["target"]["id"] == made.json["id"]]
    assert event["actor"] == {"kind": "service", "id": "authsvc api-key"}
    refused = await here(*new, "--scope", "everything", "--output", str(tmp_path / "none"))
    assert (refused.code, "there is no scope" in refused.err) == (1, True)
    assert not (tmp_path / "none").exists()
    over = await here(*new, "--scope", "admin", "--expires", "2001-01-31")
    assert (over.code, "over already" in over.err) == (1, True)
    here.env = {"AUTHSVC_DATA_DIR": str(tmp_path / "nowhere")}
    assert (await here(*new, "--scope", "admin")).code == 4
