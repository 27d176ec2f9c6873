"""The master key is changed while the service runs, and at every moment there is a way on."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from pathlib import Path

import pytest
from sqlalchemy import LargeBinary, select
from sqlmodel import col

from authsvc.errors import Conflict, KeyUnavailable, WrongMasterKey
from authsvc.server import audit
from authsvc.server.keystore import (
    Keystore,
    load_master_keys,
    open_keystore,
    verify_master_key,
)
from authsvc.server.models import AuditEvent, Row, Secret, SigningKey
from authsvc.server.rotation import Changed, change_master_key, master
from authsvc.server.settings import Settings, load
from authsvc.server.store import Store, open_store
from tests.fixtures.authsvc import LiveService

CONTEXT = audit.Context(audit.Actor("service", "test"), "", "")


def key_text() -> str:
    return base64.b64encode(os.urandom(32)).decode()


async def change(store: Store, settings: Settings) -> Changed:
    return await change_master_key(
        settings, store.database, store.keystore, context=CONTEXT, now=int(time.time())
    )


async def opens(store: Store) -> int:
    """How many keys open."""
    async with store.database.reading() as session:
        rows = list(await session.scalars(select(SigningKey)))
        secrets = await session.scalars(select(Secret))
        texts = [store.keystore.open_bytes(row.sealed, row.name) for row in secrets]
    pairs = [store.keystore.open(row.sealed_seed, row.public_key) for row in rows]
    return len(texts) + len(pairs)


def settings_for(tmp_path: Path, database_url: str, **values: str) -> Settings:
    return load(data_dir=tmp_path / "data", database_url=database_url, **values)


async def test_everything_is_sealed_anew(tmp_path: Path, database_url: str) -> None:
    settings = settings_for(tmp_path, database_url)
    before = (await files(settings))["master.key"]
    async with open_store(settings) as store:
        count = await opens(store)
        async with store.database.writing() as session:
            sealed = store.keystore.seal_bytes(b"a word", "word")
            session.add(Secret(name="word", sealed=sealed, created_at=1))
        changed = await change(store, settings)
        assert changed.sealed == count + 1
        assert changed.current == store.keystore.current_id != changed.former
        assert await opens(store) == count + 1
        async with store.database.reading() as session:
            rows = [row.sealed_seed for row in await session.scalars(select(SigningKey))]
            word = await session.get_one(Secret, "word")
            event = (
                await session.scalars(
                    select(AuditEvent).where(col(AuditEvent.action) == "master_key.rotate")
                )
            ).one()
        assert store.keystore.open_bytes(word.sealed, "word") == b"a word"
        old = Keystore(base64.b64decode(before))
        for sealed in (*rows, word.sealed):
            with pytest.raises(KeyUnavailable, match="another master key"):
                old.open_bytes(sealed, "word")
        assert event.details == {"former": changed.former, "sealed": count + 1}
    after = await files(settings)
    assert after.keys() == {"master.key"}
    assert after["master.key"] != before
    assert (settings.data_dir / "master.key").stat().st_mode & 0o777 == 0o600
    async with open_store(settings) as store:
        assert await opens(store) == count + 1


async def files(settings: Settings) -> dict[str, str]:
    """The master keys' files, made if there are none."""
    if settings.master_key is None:
        load_master_keys(settings)
    return {path.name: path.read_text() for path in settings.data_dir.glob("*master.key*")}


def test_nothing_sealed_is_forgotten() -> None:
    """Whoever adds a column for something sealed must have it sealed anew as well."""
    sealed = {
        f"{table.name}.{column.name}"
        for table in Row.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, LargeBinary) and "sealed" in column.name
    }
    assert sealed == {"signing_keys.sealed_seed", "secrets.sealed", "keystore_checks.sealed"}


async def test_a_crash_between_file_and_database(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(tmp_path, database_url)

    async def crash(*_: object) -> int:
        raise RuntimeError("crash")

    async with open_store(settings) as store:
        count = await opens(store)
        with monkeypatch.context() as patch:
            patch.setattr(master, "reseal_everything", crash)
            with pytest.raises(RuntimeError, match="crash"):
                await change(store, settings)
    assert (await files(settings)).keys() == {"master.key", "master.key.previous"}
    # It starts, and seals by what the database is at: who knows that alone can go on.
    async with open_store(settings) as store:
        assert await opens(store) == count
        assert store.keystore.current_id != store.keystore.newest_id
        wanted = store.keystore.newest_id
        changed = await change(store, settings)
        assert changed.current == wanted
        assert await opens(store) == count
    assert (await files(settings)).keys() == {"master.key"}


async def test_a_crash_before_the_former_is_forgotten(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(tmp_path, database_url)
    async with open_store(settings) as store:
        with monkeypatch.context() as patch:
            patch.setattr(master, "forget_former", lambda _: None)
            first = await change(store, settings)
    assert (await files(settings)).keys() == {"master.key", "master.key.previous"}
    async with open_store(settings) as store:
        assert store.keystore.current_id == first.current
        second = await change(store, settings)
        assert second.former == first.current
        assert await opens(store)
    assert (await files(settings)).keys() == {"master.key"}


async def test_from_settings(tmp_path: Path, database_url: str) -> None:
    old, new = key_text(), key_text()
    async with open_store(settings_for(tmp_path, database_url, master_key=old)) as store:
        count = await opens(store)
        with pytest.raises(Conflict, match="AUTHSVC_MASTER_KEY_PREVIOUS"):
            await change(store, settings_for(tmp_path, database_url, master_key=old))
    with pytest.raises(WrongMasterKey):
        async with open_store(settings_for(tmp_path, database_url, master_key=new)):
            pass
    both = settings_for(tmp_path, database_url, master_key=new, master_key_previous=old)
    async with open_store(both) as first, open_store(both) as second:
        # Until the change all seal by the former one, which replicas without the new one know.
        assert first.keystore.current_id != first.keystore.newest_id
        assert (await change(first, both)).sealed == count
        assert await opens(second) == count
        assert second.keystore.current_id == second.keystore.newest_id
    async with open_store(settings_for(tmp_path, database_url, master_key=new)) as store:
        assert await opens(store) == count
    with pytest.raises(WrongMasterKey):
        async with open_store(settings_for(tmp_path, database_url, master_key=old)):
            pass
    assert not list((tmp_path / "data").glob("*master.key*"))


async def test_what_does_not_open_stops_it_and_changes_nothing(
    tmp_path: Path, database_url: str
) -> None:
    settings = settings_for(tmp_path, database_url)
    async with open_store(settings) as store:
        async with store.database.writing() as session:
            session.add(Secret(name="broken", sealed=b"\x01" + bytes(60), created_at=1))
        with pytest.raises(KeyUnavailable):
            await change(store, settings)
        async with store.database.writing() as session:
            await session.delete(await session.get_one(Secret, "broken"))
        assert await opens(store)
        await change(store, settings)
        assert await opens(store)


async def test_what_is_sealed_meanwhile_is_not_lost(tmp_path: Path, postgres_url: str) -> None:
    """A replica that has sealed something and not committed yet is waited for."""
    settings = settings_for(tmp_path, postgres_url)
    async with open_store(settings) as store, open_store(settings) as replica:
        async with replica.database.writing() as session:
            await verify_master_key(session, replica.keystore, hold=True)
            changing = asyncio.create_task(change(store, settings))
            await asyncio.sleep(0.3)
            assert not changing.done()
            sealed = replica.keystore.seal_bytes(b"a word", "word")
            session.add(Secret(name="word", sealed=sealed, created_at=1))
        changed = await changing
        async with store.database.reading() as session:
            word = await session.get_one(Secret, "word")
        assert open_keystore(settings).open_bytes(word.sealed, "word") == b"a word"
        assert replica.keystore.current_id == changed.former
        assert replica.keystore.open_bytes(word.sealed, "word") == b"a word"
        assert replica.keystore.current_id == changed.current


async def test_a_running_service_goes_on(service: LiveService) -> None:
    """Another process changes it: the service issues, prepares a key, and revokes."""
    key = (await service.login("alice@example.com")).json()
    async with open_store(service.settings) as store:
        changed = await change(store, service.settings)
    # The service learns of it as it goes on, or has learnt of it by now.
    assert service.running.keystore.current_id in {changed.former, changed.current}
    assert (await service.login("bob@example.com")).status_code == 201
    # Making an account JWT opens the operator's key; preparing seals a new one.
    rotated = await service.admin("POST", "/v1/admin/keys/rotate", "keys:rotate")
    assert rotated.json()["propagation"]["state"] == "applied", rotated.text
    assert service.running.keystore.current_id == changed.current
    renewed = await service.renew(key["jwt"], service.keys["alice@example.com"])
    assert renewed.status_code == 201
    # What it sealed since opens with the new master key alone.
    alone = open_keystore(service.settings)
    async with service.running.database.reading() as session:
        for row in await session.scalars(select(SigningKey)):
            assert alone.open(row.sealed_seed, row.public_key)
