"""Taking permissions away on a real nats-server, and in the rows."""

from __future__ import annotations

import asyncio
import time

import nats.errors
import pytest
from nats.aio.client import Client
from sqlalchemy import select
from sqlmodel import col

from authsvc.claims import Creds, decode_account
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.database import Database
from authsvc.server.models import Account, Credential, Revocation, User, new_id
from authsvc.server.sessions.sizes import Caps, ensure_fit
from authsvc.server.sessions.supersede import supersede
from tests.fixtures.authsvc import LiveService
from tests.fixtures.nats import connect_options


class Connection:
    """A nats-py client that knows when it was cut."""

    def __init__(self) -> None:
        self.client = Client()
        self.cut = asyncio.Event()

    async def open(self, service: LiveService, jwt: str, key: KeyPair) -> Connection:
        try:
            await self.client.connect(
                service.nats_url,
                **connect_options(Creds(jwt, key)),
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                error_cb=self._ignore,
                closed_cb=self._closed,
            )
        except BaseException:
            await self.client.close()  # nats-py leaves the socket of a refused connection open
            raise
        return self

    async def _ignore(self, _: Exception) -> None: ...

    async def _closed(self) -> None:
        self.cut.set()


async def connect(service: LiveService, jwt: str, key: KeyPair) -> Connection:
    return await Connection().open(service, jwt, key)


async def test_cut_at_once_and_back_at_once(service: LiveService) -> None:
    """The old JWT ends everywhere within a second; the same nkey goes on with a new one."""
    mine = {name: KeyPair.generate(Prefix.USER) for name in ("phone", "laptop")}
    jwts = {n: (await service.login("alice@example.com", k)).json()["jwt"] for n, k in mine.items()}
    bob_jwt = (await service.login("bob@example.com")).json()["jwt"]
    clients = [await connect(service, jwts[name], mine[name]) for name in mine]
    bob = await connect(service, bob_jwt, service.keys["bob@example.com"])
    account_id = service.running.material.people_id
    try:
        # Twice within a second: what was renewed in between ends as well.
        for _ in range(2):
            now = time.time()
            async with service.running.database.writing() as session:
                alice = await session.scalar(
                    select(col(User.id)).where(col(User.username) == "alice@example.com")
                )
                assert await supersede(session, account_id, [str(alice)], now) == 2
            found = await service.running.reconciler.propagate(account_id)
            assert found.state == "applied"
            async with asyncio.timeout(1):
                for each in clients:
                    await each.cut.wait()
            renewed = {}
            for name, key in mine.items():
                with pytest.raises((nats.errors.Error, ConnectionError)):
                    await connect(service, jwts[name], key)
                assert (
                    await service.call("GET", "/v1/me", "DPoP", jwts[name], key)
                ).status_code == 401
                answer = await service.renew(jwts[name], key)
                assert answer.status_code == 201, answer.text
                renewed[name] = answer.json()["jwt"]
            clients += [await connect(service, renewed[name], mine[name]) for name in mine]
            jwts = renewed
        assert not any(each.cut.is_set() for each in (*clients[-2:], bob))
    finally:
        for each in (*clients, bob):
            await each.client.close()


async def test_one_entry_for_everybody_where_there_would_be_too_many(service: LiveService) -> None:
    names = [f"u{number}@example.com" for number in range(4)]
    jwts = {name: (await service.login(name)).json()["jwt"] for name in names}
    account_id = service.running.material.people_id
    others = await connect(service, jwts[names[3]], service.keys[names[3]])
    async with service.running.database.writing() as session:
        ids = select(col(User.id)).where(col(User.username).in_(names[:2]))
        assert await supersede(session, account_id, ids, time.time(), most=3) == 2
    async with service.running.database.writing() as session:
        ids = select(col(User.id)).where(col(User.username).in_(names[:3]))
        assert await supersede(session, account_id, ids, time.time(), most=3) == 3
    assert (await service.running.reconciler.propagate(account_id)).state == "applied"
    async with service.running.database.reading() as session:
        entries = list(await session.scalars(select(Revocation)))
        account = await session.get_one(Account, account_id)
        credentials = list(await session.scalars(select(Credential)))
        users = list(await session.scalars(select(User)))
    assert [entry.public_key for entry in entries] == ["*"]
    assert entries[0].expires_at == max(each.alive_until for each in credentials)
    assert decode_account(account.jwt).revocations == {"*": entries[0].revoked_at}
    assert {user.superseded_at for user in users} == {entries[0].revoked_at}
    async with asyncio.timeout(1):
        await others.cut.wait()
    for name in names:
        renewed = (await service.renew(jwts[name], service.keys[name])).json()["jwt"]
        await (await connect(service, renewed, service.keys[name])).client.close()


async def people(database: Database, count: int, *, roles: list[str]) -> str:
    """An account and users with one credential each; the account's id."""
    now = int(time.time())
    account = KeyPair.generate(Prefix.ACCOUNT).public.text
    async with database.writing() as session:
        session.add(
            Account(
                id="acc_1", kind="people", name="p", public_key=account, jwt="", issued_at=0,
                created_at=now,
            )
        )  # fmt: skip
        for number in range(count):
            user = User(
                id=new_id("usr"), username=f"u{number:05}", token=f"u{number:05}", kind="service",
                roles=roles, created_at=now,
            )  # fmt: skip
            session.add(user)
            await session.flush()
            session.add(
                Credential(
                    id=new_id("crd"), user_id=user.id, public_key=f"U{number}", name="",
                    method="dev", login_at=now, issued_at=now + number % 3, expires_at=now + 60,
                    alive_until=now + 60 if number % 2 else now - 60, jti="", created_at=now,
                )
            )  # fmt: skip
    return "acc_1"


async def test_only_live_nkeys_get_entries_past_their_newest_jwt(database: Database) -> None:
    account_id = await people(database, 10, roles=[])
    now = int(time.time())
    async with database.writing() as session:
        assert await supersede(session, account_id, select(col(User.id)), now) == 5
        # Nothing moves back, and nothing stands twice.
        assert await supersede(session, account_id, select(col(User.id)), now - 5) == 5
    async with database.reading() as session:
        account = await session.get_one(Account, account_id)
        rows = await session.execute(
            select(Credential, Revocation, User)
            .join(User, col(User.id) == col(Credential.user_id))
            .outerjoin(Revocation, col(Revocation.public_key) == col(Credential.public_key))
        )
        for credential, entry, user in rows:
            assert user.superseded_at == max(now, credential.issued_at)
            assert (entry is None) == (credential.alive_until < now)
            if entry is not None:
                assert entry.revoked_at == user.superseded_at
                assert entry.expires_at == credential.alive_until
    assert account.revision == 2


async def test_nothing_to_cut_reaches_no_server(database: Database) -> None:
    account_id = await people(database, 1, roles=[])
    async with database.writing() as session:
        assert await supersede(session, account_id, select(col(User.id)), time.time()) == 0
        assert await supersede(session, account_id, ["usr_none"], time.time()) == 0
    async with database.reading() as session:
        assert (await session.get_one(Account, account_id)).revision == 0
        assert await session.scalar(select(col(User.superseded_at))) is not None


async def test_thousands_in_a_few_statements(database: Database) -> None:
    account_id = await people(database, 2000, roles=["staff"])
    started = time.perf_counter()
    async with database.writing() as session:
        await ensure_fit(session, select(col(User.id)), Caps(1000, 1 << 20))
        assert await supersede(session, account_id, select(col(User.id)), time.time()) == 1000
    assert time.perf_counter() - started < 2
