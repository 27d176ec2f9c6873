"""The door: the account of auth callout and its keys, made once, and opened at each start.

await make_door(session, keystore, now)             # where the setting asks for it
door = await open_door(session, keystore, now)
door.sentinel                                       # the JWT that everybody may have
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.claims import AccountClaims, decode_user, encode, format_creds, parse_creds
from authsvc.errors import InvalidKey, KeyUnavailable
from authsvc.nkey import KeyPair, Prefix
from authsvc.server import audit
from authsvc.server.keystore import Keystore
from authsvc.server.models import Account, Secret, SigningKey, key_slot, new_id
from authsvc.server.provision import callout_claims
from authsvc.server.provision.options import Callout
from authsvc.server.settings import Settings
from authsvc.xkey import CurveKey

__all__ = ["DOOR", "Door", "callout_option", "door_claims", "make_door", "open_door"]

DOOR = "DOOR"
"""The account's name, for people."""
_XKEY, _SENTINEL = "callout.xkey", "callout.sentinel"
_USER_LIFE = 10 * 365 * 86400
_SUBSCRIPTIONS = 10
"""How far above everybody's limit nats-server's own lies: for connections by auth callout it has
no other."""


@dataclass(frozen=True, slots=True)
class Door:
    """What answering needs.

    Args:
        account_id: The row of the account.
        account: Its public key.
        signer: Public key of the account's signing key, which signed the user's JWT.
        user_jwt: The service's user in it.
        user_key: That user's nkey.
        xkey: Opens what nats-server asks.
        sentinel: The JWT that says that the door is to be asked. It is public.
        sentinel_creds: The same as ``.creds`` text; its seed is public too.
    """

    account_id: str
    account: str
    signer: str
    user_jwt: str = field(repr=False)
    user_key: KeyPair
    xkey: CurveKey
    sentinel: str
    sentinel_creds: str = field(repr=False)


def callout_option(door: Door | None, settings: Settings) -> Callout | None:
    """What nats-server's configuration says about auth callout, where it is on."""
    if door is None:
        return None
    # Whom an administrator allows more than everybody, comes with a JWT and gets it.
    return Callout(door.sentinel, _SUBSCRIPTIONS * settings.user_max_subscriptions)


async def make_door(session: AsyncSession, keystore: Keystore, now: int) -> None:
    """Make the account and its keys, unless they are there.

    Args:
        session: Writing, alone in this (see ``bootstrap``); the edge commits.
        keystore: Seals the seeds.
        now: Seconds since the epoch.
    """
    if await session.scalar(select(col(Account.id)).where(col(Account.kind) == "door")):
        return
    identity = KeyPair.generate(Prefix.ACCOUNT)
    account = Account(
        id=new_id("acc"),
        kind="door",
        name=DOOR,
        public_key=identity.public.text,
        jwt="",
        issued_at=0,
        created_at=now,
    )
    session.add(account)
    await session.flush()
    signing, login = KeyPair.generate(Prefix.ACCOUNT), KeyPair.generate(Prefix.USER)
    session.add_all(
        [
            _key(keystore, identity, "identity", DOOR, account),
            _key(keystore, signing, "signing", f"{DOOR} signing key", account),
            _key(keystore, login, "login", callout_claims.CALLOUT_USER, account),
        ]
    )
    secrets = {_XKEY: CurveKey.generate().seed, _SENTINEL: _sentinel(account)}
    for name, text in secrets.items():
        sealed = keystore.seal_bytes(text.encode(), name)
        session.add(Secret(name=name, sealed=sealed, created_at=now))
    context = audit.Context(audit.Actor("service", "authsvc"), "", "")
    details = {"kind": "door", "name": DOOR, "public_key": account.public_key}
    event = audit.event(context, "account.create", "account", account.id, details, now * 1000)
    await session.flush()
    await audit.append(session, [event])


def _sentinel(account: Account) -> str:
    """The sentinel's ``.creds`` text.

    It stays as it is for as long as the account, because nats-server's configuration holds the
    JWT; so a key of its own signs it, which takes no part in rotations and is forgotten here.
    """
    key = KeyPair.generate(Prefix.USER)
    claims = callout_claims.sentinel_user(
        subject=key.public.text, account=account.public_key, issued_at=account.created_at
    )
    return format_creds(encode(claims, KeyPair.generate(Prefix.ACCOUNT)), key)


def _key(
    keystore: Keystore,
    pair: KeyPair,
    purpose: Literal["identity", "signing", "login"],
    name: str,
    account: Account,
) -> SigningKey:
    owner: Literal["account", "user"] = "user" if purpose == "login" else "account"
    return SigningKey(
        id=new_id("key"),
        public_key=pair.public.text,
        owner=owner,
        account_id=account.id,
        purpose=purpose,
        slot=key_slot(owner, purpose, account.id),
        name=name,
        sealed_seed=keystore.seal(pair, pair.public.text),
        state="active",
        created_at=account.created_at,
        activated_at=account.created_at,
    )


async def open_door(session: AsyncSession, keystore: Keystore, now: int) -> Door:
    """The door; the JWT of the service's user is made anew.

    Args:
        session: Any; nothing is written.
        keystore: Opens the seeds.
        now: Seconds since the epoch.

    Raises:
        KeyUnavailable: A key is missing, or can't be opened.
    """
    account = await session.scalar(select(Account).where(col(Account.kind) == "door"))
    if account is None:
        raise KeyUnavailable("there is no account for auth callout")
    rows = await session.scalars(
        select(SigningKey)
        .where(col(SigningKey.account_id) == account.id)
        .where(col(SigningKey.purpose).in_(["signing", "login"]))
        .where(col(SigningKey.state) == "active")
        .order_by(col(SigningKey.generation))
    )
    keys = {row.purpose: row for row in rows}
    if keys.keys() != {"signing", "login"}:
        raise KeyUnavailable("the keys of auth callout are missing")
    signing, login = (
        keystore.open(keys[purpose].sealed_seed, keys[purpose].public_key)
        for purpose in ("signing", "login")
    )
    user = callout_claims.callout_user(
        subject=login.public.text,
        account=account.public_key,
        issued_at=now,
        expires=now + _USER_LIFE,
    )
    creds = await _secret(session, keystore, _SENTINEL)
    return Door(
        account_id=account.id,
        account=account.public_key,
        signer=signing.public.text,
        user_jwt=encode(user, signing),
        user_key=login,
        xkey=await _xkey(session, keystore),
        sentinel=parse_creds(creds).jwt,
        sentinel_creds=creds,
    )


async def door_claims(
    session: AsyncSession,
    keystore: Keystore,
    account: Account,
    common: Mapping[str, Any],
) -> AccountClaims:
    """The claims of the account.

    Args:
        session: Any; nothing is written.
        keystore: Opens the curve key, whose public half stands in the claims.
        account: The account's row.
        common: What the claims of every account are made from; see ``account_jwts``.

    Raises:
        KeyUnavailable: A key is missing, or can't be opened.
    """
    people = await session.scalar(
        select(col(Account.public_key)).where(col(Account.kind) == "people")
    )
    user = await session.scalar(
        select(col(SigningKey.public_key))
        .where(col(SigningKey.account_id) == account.id)
        .where(col(SigningKey.purpose) == "login")
        .where(col(SigningKey.state) == "active")
        .order_by(col(SigningKey.generation).desc())
        .limit(1)
    )
    if people is None or user is None:
        raise KeyUnavailable("the people's account or the user of auth callout is missing")
    sentinel = parse_creds(await _secret(session, keystore, _SENTINEL))
    return callout_claims.door_account(
        **common,
        callout_user=user,
        sentinel_signer=decode_user(sentinel.jwt).issuer,
        people_account=people,
        xkey=(await _xkey(session, keystore)).public,
    )


async def _xkey(session: AsyncSession, keystore: Keystore) -> CurveKey:
    try:
        return CurveKey.from_seed(await _secret(session, keystore, _XKEY))
    except InvalidKey:
        raise KeyUnavailable("what is sealed is no curve key") from None


async def _secret(session: AsyncSession, keystore: Keystore, name: str) -> str:
    row = await session.get(Secret, name)
    if row is None:
        raise KeyUnavailable(f"the secret {name} is missing")
    return keystore.open_bytes(row.sealed, name).decode("ascii")
