"""Who waited for another transaction decides by what that one committed (PostgreSQL)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import delete, event, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.claims import decode_user
from authsvc.dpop import Proof
from authsvc.errors import InvalidProof, KeyRevoked, UserDisabled
from authsvc.server.database import Database
from authsvc.server.driver import Outrun
from authsvc.server.models import Credential, DeadKey, Grant, User
from authsvc.server.sessions import Renewal, optimistic
from authsvc.server.sessions.proofs import SpentProofs
from tests.fixtures.waiting import until
from tests.server.sessions.office import Office, user_key

NAME = "alice@x.com"


@pytest.fixture
def database_url(postgres_url: str) -> str:
    """SQLite has one writer: nobody waits within a transaction."""
    return postgres_url


async def _somebody_waits(database: Database) -> bool:
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with database.reading() as session:
        return bool(await session.scalar(waiting))


async def _while_it_waits(
    office: Office, task: Awaitable[Any], change: Callable[[AsyncSession], Awaitable[None]]
) -> Any:
    """What comes of a task that waits for a change to be committed."""
    async with office.database.writing() as session:
        await session.execute(select(User).where(col(User.username) == NAME).with_for_update())
        await change(session)
        await session.flush()
        running = asyncio.ensure_future(task)
        await until(lambda: _somebody_waits(office.database), 10)
        assert not running.done()
    return await asyncio.wait_for(running, 10)


async def test_a_key_that_was_revoked_meanwhile(office: Office) -> None:
    key = user_key()
    issued = await office.login(NAME, key)

    async def revoke(session: AsyncSession) -> None:
        (await session.get_one(Credential, issued.id)).revoked_at = int(time.time())

    with pytest.raises(KeyRevoked):
        await _while_it_waits(office, office.login(NAME, key), revoke)


async def test_a_user_who_was_disabled_meanwhile(office: Office) -> None:
    key = user_key()
    issued = await office.login(NAME, key)

    async def disable(session: AsyncSession) -> None:
        await session.execute(update(User).values(disabled_at=5))

    async def enable(session: AsyncSession) -> None:
        await session.execute(update(User).values(disabled_at=None))

    with pytest.raises(UserDisabled):
        await _while_it_waits(office, office.login(NAME, user_key()), disable)
    assert await _while_it_waits(office, office.login(NAME, user_key()), enable)
    now = time.time()
    signer = decode_user(issued.jwt).issuer
    renewal = Renewal(
        proof=Proof(key, "again", now),
        request_id="r",
        address="a",
        now=now,
        credential=issued.id,
        issuer=signer,
        expires_at=issued.expires_at,
    )
    with pytest.raises(UserDisabled):
        await _while_it_waits(office, office.desk.order(renewal), disable)


async def test_a_user_who_was_deleted_meanwhile(office: Office) -> None:
    key = user_key()
    await office.login(NAME, key)

    async def remove(session: AsyncSession) -> None:
        session.add(DeadKey(public_key=key.text, died_at=1))
        await session.execute(delete(User))

    with pytest.raises(KeyRevoked):
        await _while_it_waits(office, office.login(NAME, key), remove)


async def test_what_was_granted_meanwhile(office: Office) -> None:
    await office.login(NAME, user_key())

    async def grant(session: AsyncSession) -> None:
        user = (await session.scalars(select(User))).one()
        session.add(
            Grant(id="grt_1", user_id=user.id, publish=["news.>"], created_by="x", created_at=1)
        )

    issued = await _while_it_waits(office, office.login(NAME, user_key()), grant)
    assert "news.>" in (decode_user(issued.jwt).permissions.publish.allow or ())


async def test_a_proof_that_another_replica_used_meanwhile(office: Office) -> None:
    proof = Proof(user_key(), "jti", time.time())
    other = office.replica()

    async def spend(session: AsyncSession) -> None:
        await SpentProofs().spend(session, proof)

    with pytest.raises(InvalidProof):
        await _while_it_waits(
            office, other.login("bob@x.com", proof.public_key, proof=proof), spend
        )


async def test_what_needs_the_transaction_is_three_statements(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [user_key() for _ in range(20)]
    first = await office.everybody(keys)
    seen: list[str] = []
    engine = office.database._writer.sync_engine

    @event.listens_for(engine, "before_cursor_execute")
    def _note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement.split(None, 1)[0])

    def outrun(*_: object) -> None:
        raise Outrun("somebody was quicker")

    monkeypatch.setattr(optimistic, "look", outrun)
    again = await office.everybody(keys)
    event.remove(engine, "before_cursor_execute", _note)
    assert [it.id for it in again] == [it.id for it in first]
    assert seen == ["WITH", "SELECT", "WITH"]
