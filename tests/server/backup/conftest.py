"""A service's store with rows in every table, and its backup."""

from __future__ import annotations

import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Connection

from authsvc.server.audit.sealing import seal
from authsvc.server.backup import Head, Identity, Options, Restored, restore, write_backup
from authsvc.server.database import Database
from authsvc.server.keystore import Keystore
from authsvc.server.settings import Settings, load
from authsvc.server.store import Store, open_store
from tests.server.filling import content, fill

IDENTITY = Identity(bytes(range(32)))


@dataclass
class Origin:
    """A store that exists.

    Args:
        settings: Its own.
        database: Open.
        keystore: Its own.
    """

    settings: Settings
    database: Database
    keystore: Keystore

    async def backup(self, *, master_key: bool = True) -> tuple[Head, bytes]:
        file = io.BytesIO()
        head, _ = await write_backup(
            self.database,
            self.settings,
            file,
            [IDENTITY.recipient],
            now=time.time(),
            master_key=master_key,
        )
        return head, file.getvalue()

    async def rows(self) -> dict[str, list[str]]:
        async with self.database.snapshot() as connection:
            return await connection.run_sync(content)


async def make_origin(store: Store, settings: Settings) -> Origin:
    async with store.database.founding() as connection:
        await connection.run_sync(_fill)
    await seal(store.database, store.keystore, 1)
    return Origin(settings, store.database, store.keystore)


def _fill(connection: Connection) -> None:
    assert "users" in fill(connection, without=("audit_seals",))


@pytest.fixture
async def origin(tmp_path: Path, database_url: str) -> AsyncIterator[Origin]:
    """On SQLite and on PostgreSQL."""
    settings = load(data_dir=tmp_path / "origin", database_url=database_url, account_name="ours")
    async with open_store(settings) as store:
        yield await make_origin(store, settings)


@pytest.fixture
async def small(tmp_path: Path, sqlite_url: str) -> AsyncIterator[Origin]:
    """On SQLite alone."""
    settings = load(data_dir=tmp_path / "origin", database_url=sqlite_url, account_name="ours")
    async with open_store(settings) as store:
        yield await make_origin(store, settings)


@pytest.fixture(scope="module")
async def sealed(shared_sqlite_url: str, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A backup on SQLite, for tests of a module that ask what becomes of it."""
    folder = tmp_path_factory.mktemp("origin")
    settings = load(data_dir=folder, database_url=shared_sqlite_url, account_name="ours")
    async with open_store(settings) as store:
        return (await (await make_origin(store, settings)).backup())[1]


RestoreTo = Callable[..., Awaitable[tuple[Settings, Restored]]]


@pytest.fixture
def restore_to(tmp_path: Path) -> RestoreTo:
    """Restore bytes to a folder called target."""

    async def run(
        sealed: bytes, database_url: str = "", options: Options | None = None, **values: object
    ) -> tuple[Settings, Restored]:
        more = {"database_url": database_url} if database_url else {}
        settings = load(**{"data_dir": tmp_path / "target", **more, **values})
        done = await restore(
            io.BytesIO(sealed), [IDENTITY], settings, options or Options(), now=time.time()
        )
        return settings, done

    return run
