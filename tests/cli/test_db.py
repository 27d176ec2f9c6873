"""``authsvc db`` on real databases."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from authsvc.server import migrations
from tests.cli.invoking import authsvc

NEWEST = migrations.revisions()[-1]


async def test_upgrade_and_check(empty_database_url: str) -> None:
    env = {"AUTHSVC_DATABASE_URL": empty_database_url, "NO_COLOR": "1"}
    tried = await authsvc("db", "upgrade", "--dry-run", "--json", **env)
    assert tried[0] == 0, tried
    steps = list(migrations.revisions())
    assert json.loads(tried[1]) == {"dry_run": True, "from": None, "to": NEWEST, "steps": steps}
    done = await authsvc("db", "upgrade", **env)
    assert done == (0, f"ran {', '.join(steps)}\n", "")
    assert (await authsvc("db", "upgrade", **env))[1].startswith("nothing to do")
    code, out, _ = await authsvc("db", "version", "--json", **env)
    assert (code, json.loads(out)) == (0, {"present": NEWEST, "newest": NEWEST})
    code, out, _ = await authsvc("db", "check", **env)
    assert (code, out) == (0, f"the schema is at {NEWEST}, the newest, and as it should be\n")


@pytest.mark.parametrize(
    ("statement", "member", "said"),
    [
        ("UPDATE alembic_version SET version_num = '0002'", "pending", "next: authsvc db upgrade"),
        ("UPDATE alembic_version SET version_num = '9999'", "unknown", "newer authsvc: 9999"),
        ("DELETE FROM alembic_version", "torn", "restore the last backup"),
        ("DROP TABLE dead_keys", "differences", "not as it should be: add_table dead_keys"),
    ],
)
async def test_what_check_finds(tmp_path: Path, statement: str, member: str, said: str) -> None:
    where = ("--data-dir", str(tmp_path))
    missing = await authsvc("db", "check", *where)
    assert (missing[0], "--data-dir" in missing[2]) == (4, True)
    assert not list(tmp_path.iterdir())
    assert (await authsvc("db", "upgrade", *where))[0] == 0
    with closing(sqlite3.connect(tmp_path / "authsvc.db")) as database:
        database.execute(statement)
        database.commit()
    code, out, _ = await authsvc("db", "check", *where)
    assert (code, said in out) == (1, True)
    code, out, _ = await authsvc("db", "check", *where, "--json")
    found = json.loads(out)
    assert (code, found["ok"], bool(found[member])) == (1, False, True)
    if member in {"unknown", "torn"}:
        refused = await authsvc("db", "upgrade", *where)
        assert (refused[0], "backup" in refused[2]) == (1, True)
