"""Logins without locks: nobody gets anything by rows that changed between look and write."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.claims import decode_user
from authsvc.dpop import Proof
from authsvc.errors import InvalidProof, KeyRevoked, KeyTaken, StoreUnavailable, UserDisabled
from authsvc.server.database import Database
from authsvc.server.driver import Driver
from authsvc.server.models import AuditEvent, Credential, Grant, Role, User
from authsvc.server.sessions import Issued, optimistic, supersede
from authsvc.server.sessions.proofs import SpentProofs
from authsvc.server.sessions.scoped import members_of, with_other_jwts
from tests.server.sessions.office import Office, user_key

NAME = "alice@x.com"


@pytest.fixture
def database_url(postgres_url: str) -> str:
    """SQLite has one writer, and its transaction is the quickest there."""
    return postgres_url


@contextmanager
def meanwhile(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[], Awaitable[Any]]
) -> Iterator[list[str]]:
    """Have something done once between look and write; what became of each write."""
    real, became = optimistic.write, list[str]()

    async def write(*args: Any) -> None:
        if not became:
            became.append("")
            await change()
        try:
            await real(*args)
        except Exception as error:
            became.append(type(error).__name__)
            raise
        became.append("written")

    with monkeypatch.context() as patch:
        patch.setattr(optimistic, "write", write)
        yield became
    del became[0]


def changed(
    office: Office, change: Callable[[AsyncSession], Awaitable[Any]]
) -> Callable[[], Awaitable[None]]:
    async def committed() -> None:
        async with office.database.writing() as session:
            await change(session)

    return committed


async def events(office: Office) -> int:
    async with office.database.reading() as session:
        return await session.scalar(select(func.count()).select_from(AuditEvent)) or 0


async def test_what_nobody_touched_is_two_statements(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [user_key() for _ in range(20)]
    await office.login(NAME, user_key())  # opens the signing key
    first = await office.everybody(keys)
    seen: list[str] = []
    real = Driver.fetch

    async def fetch(driver: Driver, statement: str, *values: Any) -> Any:
        seen.append(statement.split(None, 1)[0])
        return await real(driver, statement, *values)

    async def nothing(*_: object) -> None:
        raise AssertionError("a transaction was needed")

    monkeypatch.setattr(Driver, "fetch", fetch)
    monkeypatch.setattr(Database, "transact", nothing)
    again = await office.everybody(keys)
    assert seen == ["SELECT", "WITH"]
    assert [it.id for it in again] == [it.id for it in first]


@pytest.mark.parametrize("what", ["revoked_at", "disabled_at"])
async def test_a_key_or_a_user_that_ended(
    office: Office, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    key = user_key()
    await office.login(NAME, key)
    table, error = (Credential, KeyRevoked) if what == "revoked_at" else (User, UserDisabled)

    async def end(session: AsyncSession) -> None:
        await session.execute(update(table).values({what: int(time.time())}))

    before = await events(office)
    with meanwhile(monkeypatch, changed(office, end)) as became, pytest.raises(error):
        await office.login(NAME, key)
    assert became == ["Outrun"]
    assert await events(office) == before


async def test_a_user_who_was_superseded(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    key = user_key()
    moment = int(time.time()) + 100
    await office.login(NAME, key)

    async def end(session: AsyncSession) -> None:
        ids = list(await session.scalars(select(col(User.id))))
        await supersede.supersede(session, office.signing.account_id, ids, moment)

    with meanwhile(monkeypatch, changed(office, end)) as became:
        issued = await office.login(NAME, key)
    assert became == ["Outrun"]
    assert issued.issued_at > moment


async def test_a_user_who_is_gone(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    key = user_key()
    first = await office.login(NAME, key)

    async def remove(session: AsyncSession) -> None:
        await session.execute(delete(User))

    with meanwhile(monkeypatch, changed(office, remove)) as became:
        again = await office.login(NAME, key)
    assert became == ["Outrun"]
    assert again.id != first.id


async def test_a_row_that_was_only_locked(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever locks a user may change what the user's JWTs follow from."""
    key = user_key()
    await office.login(NAME, key)

    async def grant(session: AsyncSession) -> None:
        user = (await session.scalars(select(User).with_for_update())).one()
        session.add(
            Grant(id="grt_1", user_id=user.id, publish=["news.>"], created_by="x", created_at=1)
        )

    with meanwhile(monkeypatch, changed(office, grant)) as became:
        issued = await office.login(NAME, key)
    assert became == ["Outrun"]
    assert "news.>" in (decode_user(issued.jwt).permissions.publish.allow or ())


async def test_members_of_a_scoped_role_that_loses_a_grant(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = user_key()
    await office.login(NAME, key)

    async def take_away(session: AsyncSession) -> None:
        await session.execute(update(User).values(roles=["crew"]))
        await session.commit()
        role = Role(
            name="crew",
            account_id=office.signing.account_id,
            public_key="A",
            max_subscriptions=1,
            max_payload=1,
            created_by="x",
            created_at=1,
        )
        # Written, not only locked: see with_other_jwts.
        before = await session.scalar(text("SELECT xmin::text FROM users"))
        await with_other_jwts(session, role, members_of(session, "crew"), int(time.time()))
        assert await session.scalar(text("SELECT xmin::text FROM users")) != before

    with meanwhile(monkeypatch, changed(office, take_away)) as became:
        await office.login(NAME, key)
    assert became == ["Outrun"]


async def test_a_proof_that_was_used(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    key = user_key()
    await office.login(NAME, key)
    proof = Proof(key, "jti", time.time())
    other = office.replica()

    async def spend(session: AsyncSession) -> None:
        await SpentProofs().spend(session, proof)

    with meanwhile(monkeypatch, changed(office, spend)) as became, pytest.raises(InvalidProof):
        await other.login(NAME, key, proof=proof)
    assert became == ["Outrun"]
    with pytest.raises(InvalidProof):
        await office.login(NAME, key, proof=proof)


async def test_a_name_and_a_key_that_another_replica_took(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    await office.login("first@x.com", user_key())
    other = office.replica()
    key = user_key()
    with meanwhile(monkeypatch, lambda: other.login(NAME, user_key())) as became:
        issued = await office.login(NAME, key)
    assert became[0] == "Outrun" or became == ["written", "Outrun"]
    assert issued.username == NAME
    taken = user_key()
    with (
        meanwhile(monkeypatch, lambda: other.login("bob@x.com", taken)) as became,
        pytest.raises(KeyTaken),
    ):
        await office.login(NAME, taken)
    assert "Outrun" in became
    async with office.database.reading() as session:
        assert await session.scalar(select(func.count()).select_from(User)) == 3


async def test_many_replicas_and_revocations_at_once(office: Office) -> None:
    """Whatever the order, a JWT that was given out has its row, and a dead key gets none."""
    await office.login("first@x.com", user_key())
    keys = {f"u{number}@x.com": user_key() for number in range(6)}
    desks = [office, office.replica(), office.replica()]
    dead: dict[str, float] = {}
    given: list[tuple[Issued, float]] = []

    async def log_in(number: int) -> None:
        name = f"u{number % 6}@x.com"
        began = time.perf_counter()
        try:
            issued = await desks[number % 3].login(name, keys[name])
        except KeyRevoked:
            return
        given.append((issued, began))

    async def revoke(name: str) -> None:
        await asyncio.sleep(secrets.randbelow(100) / 1000)
        async with office.database.writing() as session:
            await session.execute(
                update(Credential)
                .where(col(Credential.public_key) == keys[name].text)
                .values(revoked_at=int(time.time()))
            )
        dead[name] = time.perf_counter()

    async with asyncio.timeout(30):
        await asyncio.gather(
            *(log_in(number) for number in range(200)), *(revoke(f"u{n}@x.com") for n in range(3))
        )
        late = await asyncio.gather(
            *(log_in(number) for number in range(60)), return_exceptions=True
        )
    assert not [it for it in late if it is not None]
    assert given
    async with office.database.reading() as session:
        revoked = {
            it.public_key for it in await session.scalars(select(Credential)) if it.revoked_at
        }
    for issued, began in given:
        if issued.public_key in revoked and issued.username in dead:
            assert began < dead[issued.username]


async def test_a_connection_that_breaks_while_writing(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = user_key()
    await office.login(NAME, key)

    async def cut() -> None:
        async with office.database.reading() as session:
            await session.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )

    with meanwhile(monkeypatch, cut) as became, pytest.raises(StoreUnavailable):
        await office.login(NAME, key)
    assert len(became) == 1
    assert became[0] not in {"written", "Outrun"}
    assert await office.login(NAME, key)


async def test_connections_that_broke_while_nobody_came(office: Office) -> None:
    key = user_key()
    await office.login(NAME, key)
    url = office.database._url.render_as_string(hide_password=False)
    other = await asyncpg.connect(url.replace("+asyncpg", ""))
    await other.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await other.close()
    await asyncio.sleep(0.1)
    for _ in range(2):  # one of them may hear it
        try:
            assert await office.login(NAME, key)
        except StoreUnavailable:
            continue
    assert await office.login(NAME, key)
