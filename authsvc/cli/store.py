"""The store on this machine, for commands that don't ask the service: it may be down."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from authsvc.cli.context import find_context
from authsvc.errors import AuthsvcError, Unavailable
from authsvc.server.database import Database
from authsvc.server.engines import parse_url
from authsvc.server.keystore import Keystore, open_keystore, verify_master_key
from authsvc.server.settings import Settings, load

__all__ = ["LocalStore", "find_store", "nats_urls", "open_local"]


class LocalStore(NamedTuple):
    """What the settings name; the database is not connected yet."""

    settings: Settings
    database: Database
    keystore: Keystore


def find_store(data_dir: Path | None) -> LocalStore:
    """A store that exists; nothing is made here."""
    settings = load(**({"data_dir": data_dir} if data_dir else {}))
    database = Database(settings.database_url)
    path = parse_url(settings.database_url).database if database.is_sqlite else None
    if path and not Path(path).exists():
        raise Unavailable(f"there is no database {path}; name the data directory with --data-dir")
    if settings.master_key is None and not (settings.data_dir / "master.key").exists():
        raise Unavailable(f"there is no master key in {settings.data_dir}; set AUTHSVC_MASTER_KEY")
    return LocalStore(settings, database, open_keystore(settings))


def nats_urls(settings: Settings) -> list[str]:
    """Where the store's nats-servers are: by the settings, or as ``authsvc up`` left word.

    Raises:
        Unavailable: Nothing says.
    """
    urls = settings.nats_internal_urls or settings.nats_urls
    if urls:
        return urls
    with suppress(AuthsvcError):
        if found := find_context(settings.data_dir).nats_url:
            return [found]
    raise Unavailable(
        "no nats-server is known: set AUTHSVC_NATS_INTERNAL_URLS, or start `authsvc up`"
    )


@asynccontextmanager
async def open_local(data_dir: Path | None) -> AsyncIterator[LocalStore]:
    """The store, open.

    Raises:
        Unavailable: There is none, or it can't be reached.
        StartRefused: Its schema or the master key do not fit.
    """
    store = find_store(data_dir)
    try:
        await store.database.start()
        async with store.database.reading() as session:
            await verify_master_key(session, store.keystore)
        yield store
    finally:
        await store.database.stop()
