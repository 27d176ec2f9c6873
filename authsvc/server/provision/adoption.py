"""What of a running NATS is taken over, checked before anything is written. Pure.

    adoption = check(operator_jwt, account_jwts, find, now=now)

The operator JWT must be signed by the operator itself, and each account by a key that the operator
trusts for that. Private keys are asked for one by one, only those that the service will need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from authsvc.claims import (
    AccountClaims,
    OperatorClaims,
    decode_account,
    decode_operator,
    ensure_valid,
)
from authsvc.errors import InvalidClaims, InvalidInput
from authsvc.nkey import KeyPair
from authsvc.server.provision.adopted import account_signers

__all__ = ["Adoption", "FindKey", "Taken", "check"]

FindKey = Callable[[str], KeyPair | None]
"""The private key of a public one, if it was given."""


@dataclass(frozen=True, slots=True)
class Taken:
    """An account as its owner made it."""

    jwt: str = field(repr=False)
    claims: AccountClaims


@dataclass(frozen=True, slots=True)
class Adoption:
    """What is taken over.

    Args:
        operator_jwt: As nats-server was started with it.
        operator: What it says.
        identity: The operator's identity key, if it was given.
        signing: The operator's signing key that will sign our accounts; None where one has to be
            made, which takes the identity key and a new operator JWT.
        system: The system account.
        system_signer: Signs the service's own user in it.
        accounts: All others.
    """

    operator_jwt: str = field(repr=False)
    operator: OperatorClaims
    identity: KeyPair | None
    signing: KeyPair | None
    system: Taken
    system_signer: KeyPair
    accounts: tuple[Taken, ...]


def check(
    operator_jwt: str,
    account_jwts: Iterable[str],
    find: FindKey,
    *,
    now: int,
) -> Adoption:
    """See that everything belongs together.

    Args:
        operator_jwt: The operator JWT that nats-server is configured with.
        account_jwts: Of all accounts.
        find: Finds private keys.
        now: Seconds since the epoch.

    Raises:
        InvalidInput: A JWT does not hold, was signed by somebody else, or a key is missing; the
            message says which.
    """
    operator = _operator(operator_jwt, now)
    identity = find(operator.subject)
    # The last one listed is the newest.
    keys = [find(key) for key in reversed(operator.signing_keys)]
    signing = next((key for key in keys if key is not None), None)
    if signing is None and identity is None:
        raise InvalidInput(
            "neither the operator's identity key nor one of its signing keys is there: "
            f"{_wanted(operator.subject, *operator.signing_keys)}"
        )
    accounts = _accounts(account_jwts, operator, now)
    system = accounts.pop(operator.system_account, None)
    if system is None:
        raise InvalidInput(
            f"the JWT of the system account {operator.system_account} is not there"
            if operator.system_account
            else "the operator JWT names no system account: nsc edit operator --system-account"
        )
    return Adoption(
        operator_jwt=operator_jwt,
        operator=operator,
        identity=identity,
        signing=signing,
        system=system,
        system_signer=_system_signer(system.claims, find),
        accounts=tuple(accounts.values()),
    )


def _operator(jwt: str, now: int) -> OperatorClaims:
    try:
        claims = decode_operator(jwt)
        ensure_valid(claims, now)
    except InvalidClaims as error:
        raise InvalidInput(f"the operator JWT does not hold: {error}") from None
    if claims.issuer != claims.subject:
        raise InvalidInput("the operator JWT is not signed by the operator's identity key")
    return claims


def _accounts(jwts: Iterable[str], operator: OperatorClaims, now: int) -> dict[str, Taken]:
    signers = account_signers(operator)
    found: dict[str, Taken] = {}
    for jwt in jwts:
        try:
            claims = decode_account(jwt)
        except InvalidClaims as error:
            raise InvalidInput(f"an account JWT does not hold: {error}") from None
        name = f"the JWT of account {claims.name or claims.subject!r}"
        try:
            ensure_valid(claims, now)
        except InvalidClaims as error:
            raise InvalidInput(f"{name} does not hold: {error}") from None
        if claims.issuer == operator.subject and operator.subject not in signers:
            raise InvalidInput(
                f"{name} is signed by the operator's identity key, but the operator JWT asks for "
                "its signing keys: nats-server refuses it too"
            )
        if claims.issuer not in signers:
            raise InvalidInput(f"{name} is signed by {claims.issuer}, which the operator is not")
        if claims.subject in found:
            raise InvalidInput(f"{name} is there twice")
        found[claims.subject] = Taken(jwt, claims)
    return found


def _system_signer(system: AccountClaims, find: FindKey) -> KeyPair:
    # A user of a scoped key has what the scope says, not what our user needs and no more.
    plain = [key for key, scope in system.signing_keys.items() if scope is None]
    for public_key in [*reversed(plain), system.subject]:
        key = find(public_key)
        if key is not None:
            return key
    raise InvalidInput(
        "no key of the system account is there, so the service can't make its own user in it: "
        f"{_wanted(*plain, system.subject)}"
    )


def _wanted(*public_keys: str) -> str:
    return f"the private key of {' or '.join(public_keys)} is needed"
