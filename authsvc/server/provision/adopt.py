"""The first start on a NATS that runs already: its operator is taken over, none is made.

The people's account and MAIL are made under it. All accounts that were there stay as they are;
see ``adopted``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncSession

from authsvc.claims import encode, ensure_valid
from authsvc.errors import Conflict, InvalidInput
from authsvc.nkey import KeyPair, Prefix
from authsvc.server import audit
from authsvc.server.keystore import Keystore
from authsvc.server.models import Account, Operator, new_id
from authsvc.server.provision.adoption import Adoption, Taken
from authsvc.server.provision.bootstrap import (
    Keys,
    Material,
    load_material,
    lock_first_start,
    make_accounts,
    make_service_users,
    written,
)

__all__ = ["HAS_OPERATOR", "adopt"]

HAS_OPERATOR = (
    "this database has an operator already: a running NATS is adopted before the first start; "
    "name another data directory or database"
)

_CONTEXT = audit.Context(audit.Actor("service", "authsvc nats adopt"), "", "")


async def adopt(
    session: AsyncSession,
    keystore: Keystore,
    adoption: Adoption,
    *,
    account_name: str,
    now: int,
) -> Material:
    """Write down what is taken over, and make what is missing.

    Args:
        session: Writing; the edge commits.
        keystore: Seals the seeds.
        adoption: What is taken over, checked.
        account_name: Of the people's account, which is new.
        now: Seconds since the epoch.

    Raises:
        Conflict: The database has an operator.
        InvalidInput: A signing key has to be made, and the operator JWT would not be valid.
    """
    await lock_first_start(session)
    if await load_material(session) is not None:
        raise Conflict(HAS_OPERATOR)
    keys = Keys(session, keystore, now)
    operator = adoption.operator
    _keep_identity(keys, adoption)
    signing, operator_jwt = _signing_key(keys, adoption, now)
    session.add(
        Operator(
            id=new_id("opr"),
            name=operator.name,
            public_key=operator.subject,
            jwt=operator_jwt,
            created_at=now,
        )
    )
    system = _account(adoption.system, "system", now)
    session.add(system)
    session.add_all([_account(taken, "adopted", now) for taken in adoption.accounts])
    await session.flush()
    # In place of a signing key, the identity key is good as well: key rotate replaces it.
    name = f"{system.name} signing key"
    keys.keep(adoption.system_signer, "account", "signing", name, system.id)
    made = await make_accounts(session, keys, {"mail": "MAIL", "people": account_name}, now)
    make_service_users(keys, system.id, made["mail"].id)
    details = {
        "signing_key": signing,
        "operator_jwt_changed": operator_jwt != adoption.operator_jwt,
        "system": system.public_key,
        "mail": made["mail"].public_key,
        "people": made["people"].public_key,
        "adopted": [taken.claims.subject for taken in adoption.accounts],
    }
    await session.flush()
    event = audit.event(
        _CONTEXT, "operator.adopt", "operator", operator.subject, details, now * 1000
    )
    await audit.append(session, [event])
    return await written(session)


def _keep_identity(keys: Keys, adoption: Adoption) -> None:
    if adoption.identity is not None:
        keys.keep(adoption.identity, "operator", "identity", "operator", None)
    else:
        keys.name(adoption.operator.subject, "operator", "identity", "operator")


def _signing_key(keys: Keys, adoption: Adoption, now: int) -> tuple[str, str]:
    """The public key that signs our accounts, and the operator JWT that lists it."""
    name = "operator signing key"
    if adoption.signing is not None:
        keys.keep(adoption.signing, "operator", "signing", name, None)
        return adoption.signing.public.text, adoption.operator_jwt
    if adoption.identity is None:
        raise InvalidInput("the operator's identity key is not there")
    made = keys.make(Prefix.OPERATOR, "operator", "signing", name)
    return made.public.text, _listing(adoption, made, adoption.identity, now)


def _listing(adoption: Adoption, made: KeyPair, identity: KeyPair, now: int) -> str:
    before = adoption.operator
    claims = replace(
        before,
        signing_keys=[*before.signing_keys, made.public.text],
        issued_at=max(now, before.issued_at + 1),
    )
    ensure_valid(claims, now)
    return encode(claims, identity)


def _account(taken: Taken, kind: Literal["system", "adopted"], now: int) -> Account:
    claims = taken.claims
    return Account(
        id=new_id("acc"),
        kind=kind,
        name=claims.name,
        public_key=claims.subject,
        jwt=taken.jwt,
        adopted_jwt=taken.jwt,
        revision=0,
        published_revision=0,
        issued_at=claims.issued_at,
        created_at=now,
    )
