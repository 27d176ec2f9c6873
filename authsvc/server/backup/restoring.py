"""Restoring a backup: all of it, or nothing.

On SQLite the database is made under another name and moved to its place when it is whole; on
PostgreSQL everything is one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import Connection, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlmodel import col

from authsvc.errors import Forbidden, KeyUnavailable, Unavailable, WrongMasterKey
from authsvc.server import audit
from authsvc.server.backup.export import check_keys
from authsvc.server.backup.loading import empty, has_rows, load
from authsvc.server.backup.manifest import Ending, Head
from authsvc.server.backup.reading import Reader
from authsvc.server.backup.sources import Found, ask_servers, merge, read_folder
from authsvc.server.backup.stanzas import Opener
from authsvc.server.backup.tables import find_shapes
from authsvc.server.backup.target import Target
from authsvc.server.database import Database
from authsvc.server.keystore import Keystore, load_master_keys, verify_master_key
from authsvc.server.models import Account
from authsvc.server.provision.merging import Merged
from authsvc.server.settings import PREFIX, Settings
from authsvc.server.tls import trusting

__all__ = ["Options", "Restored", "restore"]

SETTINGS_FILE = "restored.env"
_CONTEXT = audit.Context(audit.Actor("service", "authsvc restore"), "", "")


@dataclass(frozen=True, slots=True)
class Options:
    """How to restore.

    Args:
        force: Whether what is there may be set aside; on PostgreSQL it is removed.
        merge_from: URLs of nats-servers that must be asked what was revoked since.
        ask: Whether those of the settings are asked too, where they can be reached.
    """

    force: bool = False
    merge_from: Sequence[str] = ()
    ask: bool = True


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored.

    Args:
        head: The backup's first line.
        ending: Its last one.
        asked: The nats-servers that were asked what was revoked since.
        unasked: Why those of the settings were not; None where they were, or there are none.
        merged: What was taken over, by account.
        aside: Files that were set aside.
    """

    head: Head
    ending: Ending
    asked: Sequence[str]
    unasked: str | None
    merged: Sequence[Merged]
    aside: Sequence[Path]


async def restore(
    file: BinaryIO,
    openers: Sequence[Opener],
    settings: Settings,
    options: Options,
    *,
    now: float,
) -> Restored:
    """Bring back a service from its backup.

    Args:
        file: The backup, at its beginning.
        openers: Any of them may be the right one.
        settings: Of the service that will run: data directory, database, master key if set.
        options: How.
        now: Seconds since the epoch.

    Raises:
        Forbidden: The target is not empty, or in use.
        InvalidBackup: It is no backup, not whole, changed, of a newer schema, or can't be opened.
        StoreUnavailable: The database can't be used.
        Unavailable: A server of ``merge_from`` can't be asked.
        WrongMasterKey: The master key that is set, or there, is not the backup's.
    """
    reader = Reader(file, openers)
    target = Target(settings)
    name = getattr(file, "name", None)
    target.check(Path(name) if isinstance(name, str) else None, force=options.force)
    try:
        database = Database(target.begin())
        try:
            async with database.founding() as connection:
                work = _Restore(reader, settings, options, database, connection)
                await work.run(target, int(now))
        finally:
            await database.stop()
        target.commit()
    except BaseException:
        target.discard()
        raise
    assert reader.ending is not None  # noqa: S101 - load reads to the end
    return Restored(
        reader.head, reader.ending, work.found.servers, work.unasked, work.merged, target.aside
    )


class _Restore:
    """One restore, in its transaction."""

    def __init__(
        self,
        reader: Reader,
        settings: Settings,
        options: Options,
        database: Database,
        connection: AsyncConnection,
    ) -> None:
        self._reader = reader
        self._settings = settings
        self._options = options
        self._database = database
        self._connection = connection
        self.found = Found()
        self.unasked: str | None = None
        self.merged: list[Merged] = []

    async def run(self, target: Target, now: int) -> None:
        """Load, check, merge, and stage what belongs beside the database."""
        connection, options = self._connection, self._options
        if not self._database.is_sqlite:
            if not options.force and await connection.run_sync(has_rows):
                raise Forbidden(
                    "the database is not empty: name another one by AUTHSVC_DATABASE_URL, or say "
                    "--force, which removes what authsvc has in it"
                )
            await connection.run_sync(empty)
        await load(connection, self._reader)
        keystore = await self._keystore()
        async with AsyncSession(connection, expire_on_commit=False) as session:
            await verify_master_key(session, keystore)
            await self._look(session, keystore)
            self.merged = await merge(session, keystore, self.found, now)
            await self._note(session, now)
            await session.flush()
        if self._settings.master_key is None and self._reader.master_keys:
            target.put_master_keys(self._reader.master_keys)
        if self._reader.head.settings:
            target.put(SETTINGS_FILE, _environment(self._reader.head.settings))

    async def _keystore(self) -> Keystore:
        """With the keys that the service will have, which must be the right ones."""
        if self._settings.master_key is None and self._reader.master_keys:
            keys = self._reader.master_keys
        else:
            keys = load_master_keys(self._settings, make=False)
        keystore = Keystore(*keys)
        try:
            await self._connection.run_sync(_check_keys, keystore)
        except WrongMasterKey:
            raise WrongMasterKey(
                "the master key that is set here does not open the backup's keys: unset "
                "AUTHSVC_MASTER_KEY where the backup holds its own, or set it to the one of then"
            ) from None
        return keystore

    async def _look(self, session: AsyncSession, keystore: Keystore) -> None:
        accounts = list(await session.scalars(select(col(Account.public_key))))
        read_folder(self._settings.data_dir / "nats" / "accounts", accounts, self.found)
        trust = trusting(self._settings.nats_ca)
        urls = list(self._options.merge_from)
        if urls:
            await ask_servers(session, self._database, keystore, urls, self.found, trust=trust)
            return
        urls = self._settings.nats_internal_urls or self._settings.nats_urls
        if not (urls and self._options.ask):
            return
        try:
            await ask_servers(session, self._database, keystore, urls, self.found, trust=trust)
        except (Unavailable, KeyUnavailable) as error:
            # The service asks again when it starts, before it pushes anything.
            self.unasked = str(error)

    async def _note(self, session: AsyncSession, now: int) -> None:
        head = self._reader.head
        details: dict[str, Any] = {
            "made_at": head.made_at,
            "authsvc": head.authsvc,
            "servers_asked": self.found.servers,
            "merged": [it.account for it in self.merged],
        }
        event = audit.event(_CONTEXT, "backup.restore", "backup", head.id, details, now * 1000)
        await audit.append(session, [event])


def _check_keys(connection: Connection, keystore: Keystore) -> None:
    check_keys(connection, find_shapes(connection), keystore)


def _environment(settings: dict[str, Any]) -> str:
    """The settings of then as an environment file; nothing reads it by itself."""
    lines = ["# What was set when the backup was made, without secrets. Nothing reads this file."]
    for name, value in sorted(settings.items()):
        if value is None:
            continue
        shown = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        if isinstance(value, bool):
            shown = shown.lower()
        if shown.isprintable():
            lines.append(f"{PREFIX}{name.upper()}={shown}")
    return "\n".join(lines) + "\n"
