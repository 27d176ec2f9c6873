"""The first start: operator, accounts and their keys, made once and kept sealed.

The operator's identity key signs only the operator JWT; accounts are signed by its signing key, and
users by their account's signing key, so that every key in daily use can be rotated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from authsvc.claims import encode
from authsvc.errors import KeyUnavailable
from authsvc.nkey import KeyPair, Prefix
from authsvc.server import audit
from authsvc.server.keystore import Keystore
from authsvc.server.models import Account, Operator, SigningKey, key_slot, new_id
from authsvc.server.provision import accounts
from authsvc.server.provision.accounts import PROVISIONER_USER, SYSTEM_USER
from authsvc.server.provision.door import make_door

__all__ = [
    "Keys",
    "Material",
    "bootstrap",
    "load_material",
    "lock_first_start",
    "make_accounts",
    "make_service_users",
    "written",
]

Kind = Literal["people", "mail", "system"]
Owner = Literal["operator", "account", "user"]
Purpose = Literal["identity", "signing", "login"]
_LOCK = 0x61757468  # any number that nobody else takes here


@dataclass(frozen=True, slots=True)
class Material:
    """Public facts about the operator and the accounts; no seed is in here."""

    operator: str
    operator_jwt: str
    people_id: str
    people: str
    mail_id: str
    mail: str
    system_id: str
    system: str


async def load_material(session: AsyncSession) -> Material | None:
    """What an earlier start made, or None before the first."""
    operator = await session.scalar(select(Operator))
    if operator is None:
        return None
    rows = {row.kind: row for row in await session.scalars(select(Account))}
    people, mail, system = rows["people"], rows["mail"], rows["system"]
    return Material(
        operator=operator.public_key,
        operator_jwt=operator.jwt,
        people_id=people.id,
        people=people.public_key,
        mail_id=mail.id,
        mail=mail.public_key,
        system_id=system.id,
        system=system.public_key,
    )


async def bootstrap(
    session: AsyncSession,
    keystore: Keystore,
    *,
    account_name: str,
    now: int,
    callout: bool = False,
) -> Material:
    """Make what is missing at the first start; afterwards only read it.

    Args:
        session: Writing; the edge commits.
        keystore: Seals the seeds.
        account_name: Of the people's account.
        now: Seconds since the epoch.
        callout: Whether the account of auth callout is needed too.
    """
    await lock_first_start(session)
    found = await load_material(session)
    if found is None:
        found = await _make(session, keystore, account_name, now)
    if callout:
        await make_door(session, keystore, now)
    return found


async def _make(session: AsyncSession, keystore: Keystore, account_name: str, now: int) -> Material:
    keys = Keys(session, keystore, now)
    identity = keys.make(Prefix.OPERATOR, "operator", "identity", "operator")
    signing = keys.make(Prefix.OPERATOR, "operator", "signing", "operator signing key")
    names: dict[Kind, str] = {"system": "SYS", "mail": "MAIL", "people": account_name}
    made = await make_accounts(session, keys, names, now)
    claims = accounts.operator_claims(
        subject=identity.public.text,
        name="authsvc",
        signing_keys=[signing.public.text],
        system_account=made["system"].public_key,
        issued_at=now,
    )
    session.add(
        Operator(
            id=new_id("opr"),
            name="authsvc",
            public_key=identity.public.text,
            jwt=encode(claims, identity),
            created_at=now,
        )
    )
    make_service_users(keys, made["system"].id, made["mail"].id)
    actor = audit.Context(audit.Actor("service", "authsvc"), "", "")
    event = audit.event(
        actor,
        "operator.create",
        "operator",
        identity.public.text,
        {kind: account.public_key for kind, account in made.items()},
        now * 1000,
    )
    await session.flush()
    await audit.append(session, [event])
    return await written(session)


async def lock_first_start(session: AsyncSession) -> None:
    """Be the only one among all replicas who makes the operator, until the transaction ends."""
    if session.get_bind().dialect.name == "postgresql":
        # Replicas may start for the first time together; SQLite's writer is alone anyway.
        await session.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _LOCK})


async def make_accounts(
    session: AsyncSession, keys: Keys, names: Mapping[Kind, str], now: int
) -> dict[Kind, Account]:
    """New accounts, each with an identity key and a signing key; their JWTs come later.

    Args:
        session: Writing; the edge commits.
        keys: Makes the keys.
        names: What each kind is called.
        now: Seconds since the epoch.
    """
    made: dict[Kind, Account] = {}
    pairs = {kind: KeyPair.generate(Prefix.ACCOUNT) for kind in names}
    for kind, name in names.items():
        made[kind] = Account(
            id=new_id("acc"),
            kind=kind,
            name=name,
            public_key=pairs[kind].public.text,
            jwt="",
            revision=0,
            published_revision=-1,
            issued_at=0,
            created_at=now,
        )
        session.add(made[kind])
    await session.flush()
    for kind, account in made.items():
        keys.keep(pairs[kind], "account", "identity", account.name, account.id)
        name = f"{account.name} signing key"
        keys.make(Prefix.ACCOUNT, "account", "signing", name, account.id)
    return made


def make_service_users(keys: Keys, system_id: str, mail_id: str) -> None:
    """The keys by which the service itself logs in to NATS."""
    keys.make(Prefix.USER, "user", "login", SYSTEM_USER, system_id)
    keys.make(Prefix.USER, "user", "login", PROVISIONER_USER, mail_id)


async def written(session: AsyncSession) -> Material:
    """What was made in this transaction.

    Raises:
        KeyUnavailable: It is not there.
    """
    made = await load_material(session)
    if made is None:
        raise KeyUnavailable("the operator was not written")
    return made


class Keys:
    """Makes keys and keeps their sealed seeds."""

    def __init__(self, session: AsyncSession, keystore: Keystore, now: int) -> None:
        self._session = session
        self._keystore = keystore
        self._now = now

    def make(
        self,
        prefix: Prefix,
        owner: Owner,
        purpose: Purpose,
        name: str,
        account_id: str | None = None,
    ) -> KeyPair:
        """A new private key, sealed."""
        pair = KeyPair.generate(prefix)
        self.keep(pair, owner, purpose, name, account_id)
        return pair

    def keep(
        self, pair: KeyPair, owner: Owner, purpose: Purpose, name: str, account_id: str | None
    ) -> None:
        """A private key from elsewhere, sealed."""
        self._add(pair.public.text, owner, purpose, name, account_id, pair)

    def name(self, public_key: str, owner: Owner, purpose: Purpose, name: str) -> None:
        """A key of the operator's whose private part is elsewhere; it may be imported later."""
        self._add(public_key, owner, purpose, name, None, None)

    def _add(  # noqa: PLR0917 - as ``keep``
        self,
        public_key: str,
        owner: Owner,
        purpose: Purpose,
        name: str,
        account_id: str | None,
        pair: KeyPair | None,
    ) -> None:
        self._session.add(
            SigningKey(
                id=new_id("key"),
                public_key=public_key,
                owner=owner,
                account_id=account_id,
                purpose=purpose,
                slot=key_slot(owner, purpose, account_id),
                generation=1,
                name=name,
                sealed_seed=self._keystore.seal(pair, public_key) if pair else b"",
                state="active",
                created_at=self._now,
                activated_at=self._now,
            )
        )
