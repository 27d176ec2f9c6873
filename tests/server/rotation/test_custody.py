"""Private keys leave the service and come back; each time there is an event."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select
from sqlmodel import col

from authsvc.errors import Conflict, NotFound
from authsvc.nkey import KeyPair, Prefix
from authsvc.server import audit
from authsvc.server.models import AuditEvent, SigningKey
from authsvc.server.rotation import export_seed, import_seed, remove_seed
from authsvc.server.settings import load
from authsvc.server.store import Store, open_store

CONTEXT = audit.Context(audit.Actor("service", "test"), "", "")


async def export(store: Store, name: str, *, confirm: bool = False) -> KeyPair:
    async with store.database.writing() as session:
        return await export_seed(
            session, store.keystore, name, context=CONTEXT, now=1, confirm=confirm
        )


async def remove(store: Store, name: str, *, confirm: bool = False) -> SigningKey:
    async with store.database.writing() as session:
        return await remove_seed(session, name, context=CONTEXT, now=2, confirm=confirm)


async def take_back(store: Store, pair: KeyPair) -> SigningKey:
    async with store.database.writing() as session:
        return await import_seed(session, store.keystore, pair, context=CONTEXT, now=3)


async def test_out_and_back(tmp_path: Path, database_url: str) -> None:
    async with open_store(load(data_dir=tmp_path, database_url=database_url)) as store:
        with pytest.raises(Conflict, match="never exported"):
            await remove(store, "operator-identity")
        pair = await export(store, "operator")
        assert pair.public.text == store.material.operator
        with pytest.raises(Conflict, match="exported before"):
            await export(store, pair.public.text)
        assert (await export(store, "operator-identity", confirm=True)).seed == pair.seed
        assert (await remove(store, "operator")).sealed_seed == b""
        for step in (export, remove):
            with pytest.raises(Conflict, match="not here"):
                await step(store, "operator", confirm=True)
        with pytest.raises(NotFound, match="no key of this service"):
            await take_back(store, KeyPair.generate(Prefix.OPERATOR))
        await take_back(store, pair)
        with pytest.raises(Conflict, match="here already"):
            await take_back(store, pair)
        assert (await export(store, "operator", confirm=True)).seed == pair.seed
        async with store.database.reading() as session:
            events = list(
                await session.scalars(
                    select(AuditEvent)
                    .where(col(AuditEvent.action).startswith("key."))
                    .order_by(col(AuditEvent.seq))
                )
            )
    names = [event.action for event in events]
    assert names == ["key.export", "key.export", "key.remove", "key.import", "key.export"]
    assert all(pair.seed not in str(event.details) for event in events)


async def test_only_identity_keys_can_be_missing(tmp_path: Path, database_url: str) -> None:
    async with open_store(load(data_dir=tmp_path, database_url=database_url)) as store:
        async with store.database.reading() as session:
            keys = list(await session.scalars(select(SigningKey)))
        for key in keys:
            if key.purpose == "identity":
                assert (await remove(store, key.public_key, confirm=True)).id == key.id
            else:
                with pytest.raises(Conflict, match="every day"):
                    await remove(store, key.public_key, confirm=True)
        for name in ("", "mail", "operator-signing", "people-identity\x00"):
            with pytest.raises(NotFound):
                await remove(store, name)
