"""Writing a backup: one snapshot of the database while others go on writing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, BinaryIO

from sqlalchemy import Connection, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from authsvc import __version__
from authsvc.errors import KeyUnavailable, StartRefused, WrongMasterKey
from authsvc.server import audit, migrations
from authsvc.server.backup.envelope import Sealed
from authsvc.server.backup.lines import LineWriter
from authsvc.server.backup.manifest import Ending, Head, TableHead
from authsvc.server.backup.stanzas import Sealer
from authsvc.server.backup.tables import Codec, Shape, clause, find_shapes
from authsvc.server.database import Database
from authsvc.server.keystore import Keystore, load_master_keys
from authsvc.server.keystore.check import CHECK_CONTEXT
from authsvc.server.models import new_id
from authsvc.server.settings import FROM_FILE, Settings

__all__ = ["Messages", "check_keys", "write_backup"]

_PAGE = 500
_CONTEXT = audit.Context(audit.Actor("service", "authsvc backup"), "", "")

Messages = AsyncIterator[dict[str, Any]]
"""Messages of mailboxes, each as a line has it."""


async def write_backup(
    database: Database,
    settings: Settings,
    file: BinaryIO,
    sealers: Sequence[Sealer],
    *,
    now: float,
    master_key: bool = True,
    messages: Messages | None = None,
) -> tuple[Head, Ending]:
    """Write everything into an encrypted file.

    Args:
        database: Of any schema that this program knows.
        settings: Say where the master key is.
        file: Open for writing; synchronised and closed by the caller.
        sealers: Who can open it.
        now: Seconds since the epoch.
        master_key: Whether the master key goes along; without it the file opens no key.
        messages: What waits in mailboxes, where that goes along.

    Raises:
        StartRefused: There is no schema, a newer one, or no master key that can be read.
        StoreUnavailable: The database can't be used.
        WrongMasterKey: The master key is not the database's: what was backed up could not be used.
    """
    number = new_id("bak")
    details = {"master_key": master_key, "mailboxes": messages is not None}
    await _note(database, number, details, now)
    async with database.snapshot() as connection:
        revision, shapes = await connection.run_sync(_schema)
        keys = load_master_keys(settings, make=False)
        await connection.run_sync(check_keys, shapes, Keystore(*keys))
        lines = LineWriter(Sealed(file, sealers))
        head = Head(
            id=number,
            made_at=int(now),
            authsvc=__version__,
            revision=revision,
            database="sqlite" if database.is_sqlite else "postgresql",
            operator=await _operator(connection, shapes),
            master_keys=len(keys) if master_key else 0,
            tables={
                name: TableHead(columns=shape.kinds, rows=await _count(connection, name))
                for name, shape in shapes.items()
            },
            mailboxes=messages is not None,
            settings=_told(settings),
            secrets_set=[name for name in FROM_FILE if name in settings.model_fields_set],
        )
        lines.write({"head": head.model_dump()})
        if master_key:
            lines.write({"master_keys": [base64.b64encode(key).decode() for key in keys]})
        digests = {
            name: await _write_table(connection, lines, name, shape)
            for name, shape in shapes.items()
        }
    count = 0
    if messages is not None:
        async for message in messages:
            lines.write({"message": message})
            count += 1
    ending = Ending(sha256=lines.digest, digests=digests, messages=count)
    lines.write({"end": ending.model_dump()})
    lines.close()
    return head, ending


async def _note(database: Database, number: str, details: dict[str, Any], now: float) -> None:
    """Say in the audit that all keys leave; an older schema is left as it is."""
    async with database.writing() as session:
        connection = await session.connection()
        found = await connection.run_sync(migrations.schema)
        if found.present == found.newest:
            event = audit.event(
                _CONTEXT, "backup.create", "backup", number, details, int(now * 1000)
            )
            await audit.append(session, [event])


def _schema(connection: Connection) -> tuple[str, dict[str, Shape]]:
    found = migrations.schema(connection)
    if found.present is None or found.unknown:
        raise StartRefused(
            "the database has no schema of authsvc's, or one of a newer version: use the authsvc "
            "that it belongs to"
        )
    return found.present, find_shapes(connection)


def check_keys(connection: Connection, shapes: Mapping[str, Shape], keystore: Keystore) -> None:
    """See that the master keys open all that is sealed.

    Args:
        connection: To the database.
        shapes: Of its tables.
        keystore: With the master keys.

    Raises:
        WrongMasterKey: They don't.
    """
    checks = clause("keystore_checks", shapes["keystore_checks"].kinds)
    sealed = [(it, CHECK_CONTEXT) for it in connection.scalars(select(checks.c.sealed))]
    keys = clause("signing_keys", shapes["signing_keys"].kinds)
    rows = connection.execute(select(keys.c.sealed_seed, keys.c.public_key))
    sealed += [(seed, context) for seed, context in rows if seed]
    if "secrets" in shapes:
        secrets = clause("secrets", shapes["secrets"].kinds)
        found = connection.execute(select(secrets.c.sealed, secrets.c.name))
        sealed += [(text, context) for text, context in found]
    for text, context in sealed:
        try:
            keystore.open_bytes(text, context)
        except KeyUnavailable as error:
            raise WrongMasterKey(
                f"the master key does not open what is sealed in the database ({error}): a "
                "restored service could not use it; give the right AUTHSVC_MASTER_KEY"
            ) from None


async def _operator(connection: AsyncConnection, shapes: Mapping[str, Shape]) -> str | None:
    rows = clause("operators", shapes["operators"].kinds)
    found = await connection.scalar(select(rows.c.public_key))
    return None if found is None else str(found)


async def _count(connection: AsyncConnection, name: str) -> int:
    return await connection.scalar(select(func.count()).select_from(clause(name, {}))) or 0


async def _write_table(
    connection: AsyncConnection, lines: LineWriter, name: str, shape: Shape
) -> str:
    """Write a table's rows in the order of its key; returns their digest."""
    rows, codec, digest = clause(name, shape.kinds), Codec(shape.kinds), hashlib.sha256()
    lines.write({"table": name})
    statement = select(*rows.c).order_by(*[rows.c[it] for it in shape.key])
    result = await connection.stream(statement.execution_options(yield_per=_PAGE))
    async for page in result.partitions():
        for row in page:
            digest.update(lines.write(codec.encode(row)))
    return digest.hexdigest()


def _told(settings: Settings) -> dict[str, Any]:
    """What was set, but for secrets and what only this machine is concerned with."""
    own = {"data_dir", "host", "port", "nats_server", *FROM_FILE}
    return settings.model_dump(mode="json", include=settings.model_fields_set - own)
