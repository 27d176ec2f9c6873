"""Whose connections an account JWT ends, and what is made of it before anybody is closed."""

from __future__ import annotations

import time

from authsvc.claims import UserScope, encode
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.provision import accounts
from authsvc.server.provision.barred import PATIENCE_SECONDS, Barred
from authsvc.server.provision.census import Key, Presence, Whose
from authsvc.server.provision.standing import Standing

OPERATOR = KeyPair.generate(Prefix.OPERATOR)
ACCOUNT, MAIL, SIGNER, ROLE, OTHER = (
    KeyPair.generate(Prefix.ACCOUNT).public.text for _ in range(5)
)
ALICE, BOB = (KeyPair.generate(Prefix.USER).public.text for _ in range(2))


def account_jwt(
    *signers: str, revocations: dict[str, int] | None = None, issued_at: int = 1
) -> str:
    claims = accounts.people_account(
        subject=ACCOUNT,
        name="people",
        mail_account=MAIL,
        signing_keys=signers or (SIGNER,),
        revocations=revocations or {},
        issued_at=issued_at,
        scopes=[UserScope(key=ROLE, role="r")],
    )
    return encode(claims, OPERATOR)


def whose(key: str = ALICE, issued: int = 100, signer: str = SIGNER) -> Whose:
    return Whose("alice", key, issued, signer, "crd_1")


def test_a_revocation_ends_what_was_issued_until_then() -> None:
    standing = Standing(account_jwt(revocations={ALICE: 100}))
    found = [standing.ended(whose(issued=issued)) for issued in (99, 100, 101)]
    assert found == ["revoked", "revoked", None]
    assert standing.ended(whose(BOB)) is None
    everybody = Standing(account_jwt(revocations={"*": 100, ALICE: 50}))
    assert [everybody.ended(whose(key)) for key in (ALICE, BOB)] == ["revoked", "revoked"]
    assert everybody.ended(whose(BOB, 101)) is None


def test_a_key_that_signs_no_more_ends_what_it_signed() -> None:
    standing = Standing(account_jwt())
    found = [standing.ended(whose(signer=signer)) for signer in (SIGNER, ROLE, ACCOUNT, OTHER)]
    assert found == [None, None, None, "signing-key"]


def test_who_has_no_credential_and_an_account_without_a_jwt_end_nobody() -> None:
    assert Standing(account_jwt(revocations={"*": 1 << 40})).ended(Whose("carol")) is None
    assert Standing("").ended(whose()) is None


async def test_a_newer_account_jwt_is_asked_for_before_a_key_counts_as_retired() -> None:
    """Another replica may have rotated it just now. A revocation needs no asking."""
    rows, asked = [account_jwt(SIGNER, OTHER)], []

    async def read() -> str:
        asked.append(1)
        return rows[0]

    barred, key = Barred(read), Key("A", 1)
    present = {key: Presence(whose(signer=OTHER), 1, 1)}
    assert barred.note(account_jwt())
    assert barred.heard(key, whose(signer=OTHER))
    assert await barred.confirmed(present) == {}
    assert (barred.suspects, asked) == ({}, [1])
    rows[0] = account_jwt(revocations={BOB: 100})
    assert barred.note(rows[0])
    present[Key("A", 2)] = Presence(whose(BOB), 1, 1)
    barred.look(present, time.monotonic())
    found = await barred.confirmed(present)
    assert {key: why for key, (_, why) in found.items()} == {
        Key("A", 1): "signing-key",
        Key("A", 2): "revoked",
    }
    del present[key]
    assert list(await barred.confirmed(present)) == [Key("A", 2)]
    assert len(asked) == 2


async def test_servers_have_time_to_end_connections_themselves() -> None:
    """However often the account JWT changes: all are looked at a second after the first."""

    async def read() -> str:
        return ""

    barred, began = Barred(read), time.monotonic()
    for issued in range(1, 4):
        assert barred.note(account_jwt(issued_at=issued))
    assert not barred.note(account_jwt(issued_at=3))
    assert barred.waiting
    assert not barred.due(began + PATIENCE_SECONDS / 2)
    later = time.monotonic() + PATIENCE_SECONDS
    assert barred.due(later)
    barred.look({}, later)
    assert not barred.waiting
