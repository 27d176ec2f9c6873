"""``authsvc db``: the database's schema; it works in the database itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from authsvc.cli import loop
from authsvc.cli.asking import DryRun
from authsvc.cli.context import AsJson

if TYPE_CHECKING:
    from authsvc.server.settings import Settings

__all__ = ["app"]

app = typer.Typer(help="The database's schema: version, check, upgrade.", no_args_is_help=True)

StoreDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", help="Where the SQLite file is; AUTHSVC_DATABASE_URL goes before it."
    ),
]


@app.command()
def version(*, data_dir: StoreDir = None, as_json: AsJson = False) -> None:
    """Which schema the database has, and which one this program works with.

    Example: authsvc db version --data-dir ./data
    """
    found = loop.run(_look(_settings(data_dir)))
    if as_json:
        print(json.dumps({name: found[name] for name in ("present", "newest")}))
    else:
        print(f"present  {found['present'] or 'none'}\nnewest   {found['newest']}")


@app.command()
def check(*, data_dir: StoreDir = None, as_json: AsJson = False) -> None:
    """Whether the schema is the newest and the tables are as it says; nothing is changed.

    Exit code 0: it is; 1: it is not; 4: the database can't be used.

    Example: authsvc db check
    """
    found = loop.run(_look(_settings(data_dir)))
    if as_json:
        print(json.dumps(found))
    else:
        for line in _problems(found):
            print(line)
        if found["ok"]:
            print(f"the schema is at {found['present']}, the newest, and as it should be")
    if not found["ok"]:
        raise typer.Exit(1)


@app.command()
def upgrade(*, data_dir: StoreDir = None, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Bring the schema to the newest version, in one transaction: all of it or nothing.

    `authsvc up` and `serve` do so when they start. Back the database up first; services of an
    older version must be stopped. Exit code 1 where the database is of a newer one.

    Example: authsvc db upgrade --dry-run
    """
    settings = _settings(data_dir)
    before = loop.run(_look(settings, absent=True))
    steps = before["pending"]
    if not dry_run:
        loop.run(_upgrade(settings))
    if as_json:
        told: dict[str, Any] = {"from": before["present"], "to": before["newest"], "steps": steps}
        print(json.dumps(({"dry_run": True} if dry_run else {}) | told))
    elif not steps:
        print(f"nothing to do: the schema is at {before['newest']}")
    else:
        print(f"{'would run' if dry_run else 'ran'} {', '.join(steps)}")


def _settings(data_dir: Path | None) -> Settings:
    from authsvc.server.settings import load  # noqa: PLC0415

    return load(**({"data_dir": data_dir} if data_dir else {}))


async def _look(settings: Settings, *, absent: bool = False) -> dict[str, Any]:
    """Where the schema stands.

    Args:
        settings: Which database.
        absent: Whether a SQLite file that is not there is an empty database.

    Raises:
        Unavailable: There is no such database, or it can't be reached.
    """
    from authsvc.errors import Unavailable  # noqa: PLC0415
    from authsvc.server import migrations  # noqa: PLC0415
    from authsvc.server.database import Database  # noqa: PLC0415
    from authsvc.server.engines import parse_url  # noqa: PLC0415

    database = Database(settings.database_url)
    path = parse_url(settings.database_url).database if database.is_sqlite else None
    if path and not Path(path).exists():  # noqa: ASYNC240 - a command may look
        if not absent:
            raise Unavailable(f"there is no database {path}; name its directory with --data-dir")
        steps = migrations.revisions()
        return _described(migrations.Schema(None, steps[-1], steps), [])
    try:
        async with database.reading() as session:
            connection = await session.connection()
            found = await connection.run_sync(migrations.schema)
            whole = not (found.pending or found.unknown or found.torn)
            differences = await connection.run_sync(migrations.differences) if whole else []
    finally:
        await database.stop()
    return _described(found, differences)


async def _upgrade(settings: Settings) -> None:
    from authsvc.server.database import migrate  # noqa: PLC0415

    await migrate(settings.database_url)


def _described(schema: Any, differences: list[str]) -> dict[str, Any]:
    wrong = bool(schema.pending or schema.unknown or schema.torn or differences)
    return {
        "ok": not wrong,
        "present": schema.present,
        "newest": schema.newest,
        "pending": list(schema.pending),
        "unknown": list(schema.unknown),
        "torn": schema.torn,
        "differences": differences,
    }


def _problems(found: dict[str, Any]) -> list[str]:
    lines = []
    if found["unknown"]:
        lines.append(f"it is of a newer authsvc: {found['present']}; start that version")
    elif found["torn"]:
        lines.append("it has tables and no version: restore the last backup")
    elif found["pending"]:
        lines.append(f"at {found['present'] or 'nothing'}, to come: {', '.join(found['pending'])}")
        lines.append("next: authsvc db upgrade")
    lines += [f"not as it should be: {line}" for line in found["differences"]]
    return lines
