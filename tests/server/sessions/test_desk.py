"""The desk: orders that share a transaction, on both databases."""

from __future__ import annotations

import asyncio
import time

import pytest
from sqlalchemy import select
from sqlmodel import col

from authsvc.claims import decode_user
from authsvc.dpop import Proof
from authsvc.errors import (
    InvalidProof,
    InvalidToken,
    KeyRevoked,
    KeyTaken,
    KeyUnavailable,
    StoreUnavailable,
)
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.models import AuditEvent, Credential, SigningKey, User
from authsvc.server.sessions import Desk, Issued, Renewal
from authsvc.server.sessions.proofs import SpentProofs
from tests.server.sessions.office import LIMITS, Office, user_key


async def test_one_refusal_touches_nobody_else(office: Office) -> None:
    taken = user_key()
    await office.login("alice@x.com", taken)
    now = time.time()
    replayed = Proof(user_key(), "same", now)
    results = await asyncio.gather(
        office.login("bob@x.com", taken),
        office.login("bob@x.com", user_key()),
        office.login("carol@x.com", replayed.public_key, proof=replayed),
        office.login("carol@x.com", replayed.public_key, proof=replayed),
        office.login("alice@x.com", taken),
        return_exceptions=True,
    )
    kinds = [type(result) for result in results]
    assert kinds[0] is KeyTaken
    assert kinds[1] is kinds[4] is Issued
    assert sorted(kind.__name__ for kind in kinds[2:4]) == ["InvalidProof", "Issued"]
    async with office.database.reading() as session:
        credentials = list(await session.scalars(select(Credential)))
        events = list(await session.scalars(select(col(AuditEvent.action))))
    assert len(credentials) == 3
    assert events.count("credential.issue") == 4


async def test_two_people_race_for_one_key(office: Office) -> None:
    key = user_key()
    results = await asyncio.gather(
        *(office.login(f"user{number}@x.com", key) for number in range(10)),
        return_exceptions=True,
    )
    winners = [result for result in results if isinstance(result, Issued)]
    assert len(winners) == 1
    assert all(isinstance(it, Issued | KeyTaken) for it in results)


async def test_two_desks_over_one_database(office: Office) -> None:
    """As two replicas have it: the same new users and keys at the same moment."""
    other = Desk(office.database, office.signing, LIMITS, SpentProofs())
    second = Office.__new__(Office)
    second.database, second.signing, second.desk = office.database, office.signing, other
    keys = [user_key() for _ in range(20)]
    results = await asyncio.gather(
        *(office.login(f"user{n}@x.com", key) for n, key in enumerate(keys)),
        *(second.login(f"user{n}@x.com", key) for n, key in enumerate(keys)),
    )
    assert len({result.id for result in results}) == 20
    async with office.database.reading() as session:
        assert len(list(await session.scalars(select(User)))) == 20
        assert len(list(await session.scalars(select(Credential)))) == 20


async def test_a_revoked_key_stays_dead(office: Office) -> None:
    key = user_key()
    issued = await office.login("alice@x.com", key)
    async with office.database.writing() as session:
        row = await session.get_one(Credential, issued.id)
        row.revoked_at = int(time.time())
    with pytest.raises(KeyRevoked):
        await office.login("alice@x.com", key)


async def test_proofs_are_forgotten_after_their_window(office: Office) -> None:
    now = time.time()
    proof = Proof(user_key(), "jti", now)
    async with office.database.writing() as session:
        await office.proofs.spend(session, proof)
        await office.proofs.forget(session, now + 60)
    with pytest.raises(InvalidProof):
        async with office.database.writing() as session:
            await office.proofs.spend(session, proof)
    async with office.database.writing() as session:
        await office.proofs.forget(session, now + 200)
        await office.proofs.spend(session, proof)


async def test_a_jti_that_its_holder_signs_again_with_another_time(office: Office) -> None:
    key, now = user_key(), time.time()
    await office.login("alice@x.com", key, proof=Proof(key, "jti", now))
    with pytest.raises(InvalidProof):
        await office.login("alice@x.com", key, proof=Proof(key, "jti", now + 1))
    after_a_restart = SpentProofs()
    await after_a_restart.start(office.database)
    async with office.database.writing() as session:
        for again in (now, now + 1):
            with pytest.raises(InvalidProof):
                await after_a_restart.spend(session, Proof(key, "jti", again))


async def test_another_process_knows_a_proof_by_its_row(office: Office) -> None:
    proof = Proof(user_key(), "jti", time.time())
    other = SpentProofs()
    await other.start(office.database)
    async with office.database.writing() as session:
        await office.proofs.spend(session, proof)
    async with office.database.writing() as session:
        with pytest.raises(InvalidProof):
            await other.spend(session, proof)


async def test_a_change_that_is_not_committed_uses_nothing_up(office: Office) -> None:
    proof = Proof(user_key(), "jti", time.time())

    async def fail() -> None:
        async with office.database.writing() as session:
            await office.proofs.spend(session, proof)
            raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await fail()
    async with office.database.writing() as session:
        await office.proofs.spend(session, proof)


async def test_another_keys_jti_is_another_proof(office: Office) -> None:
    now = time.time()
    async with office.database.writing() as session:
        await office.proofs.spend(session, Proof(user_key(), "jti", now))
        await office.proofs.spend(session, Proof(user_key(), "jti", now))


async def test_renewal_by_an_untrusted_signer(office: Office) -> None:
    key = user_key()
    issued = await office.login("alice@x.com", key)
    with pytest.raises(InvalidToken):
        await office.desk.order(
            Renewal(
                proof=Proof(key, "j", time.time()),
                request_id="r",
                address="a",
                now=time.time(),
                credential=issued.id,
                issuer=KeyPair.generate(Prefix.ACCOUNT).public.text,
                expires_at=issued.expires_at,
            )
        )


async def test_nothing_leaves_without_a_signing_key(office: Office) -> None:
    async with office.database.writing() as session:
        for row in await session.scalars(select(SigningKey)):
            row.state = "retired"
    with pytest.raises(KeyUnavailable):
        await office.login("alice@x.com", user_key())
    async with office.database.reading() as session:
        assert list(await session.scalars(select(Credential))) == []
        assert list(await session.scalars(select(col(AuditEvent.action)))) == ["operator.create"]


async def test_nothing_leaves_without_a_database(office: Office) -> None:
    await office.desk.stop()
    with pytest.raises(StoreUnavailable):
        await office.login("alice@x.com", user_key())


async def test_a_rotated_key_signs_from_the_next_transaction_on(office: Office) -> None:
    first = await office.login("alice@x.com", user_key())
    new = KeyPair.generate(Prefix.ACCOUNT)
    async with office.database.writing() as session:
        old = (
            await session.scalars(
                select(SigningKey)
                .where(col(SigningKey.purpose) == "signing")
                .where(col(SigningKey.name) == "people signing key")
            )
        ).one()
        session.add(
            SigningKey(
                id="key_new",
                public_key=new.public.text,
                owner="account",
                account_id=old.account_id,
                purpose="signing",
                slot=old.slot,
                generation=2,
                name="new",
                sealed_seed=office.signing._keystore.seal(new, new.public.text),
                state="active",
                created_at=2,
                activated_at=2,
            )
        )
    second = await office.login("bob@x.com", user_key())
    assert decode_user(first.jwt).issuer != new.public.text
    assert decode_user(second.jwt).issuer == new.public.text
