"""A database that is older than what nats-servers hold: it was restored, or put back.

What it lost must not come alive again. From the account JWTs that are newer than its own it takes
over what was revoked since, and which signing keys were retired; ``iat`` never falls. Whether an
nkey was revoked for good, or only superseded, no account JWT says: what was cut is taken for
revoked, and its user logs in with a new nkey.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.claims import AccountClaims, decode_account, decode_operator
from authsvc.errors import InvalidClaims
from authsvc.server import audit
from authsvc.server.keystore import Keystore
from authsvc.server.models import Account, Credential, DeadKey, Operator, Revocation, User
from authsvc.server.provision.adopted import account_signers
from authsvc.server.provision.ceiling import MOST_REVOCATIONS
from authsvc.server.provision.retired import retire_missing
from authsvc.server.provision.revisions import (
    Cut,
    live_revocations,
    note_revocations,
    raise_revision,
)

__all__ = ["Merged", "merge_account", "newer", "trusted_signers"]

_FARTHEST = 1 << 53
_EVERYBODY = "*"
_SHORTEST_LIFE = 30 * 86400
"""Seconds that an entry is kept at least: how long the JWTs lived that it hits, nobody knows."""
_PAGE = 500
_ITSELF = audit.Context(audit.Actor("service", "merge"), "", "")


@dataclass(frozen=True, slots=True)
class Merged:
    """What an account's rows took over.

    Args:
        account: The account's name.
        issued_at: ``iat`` of the newest JWT that was found.
        revocations: Entries that the rows lacked.
        credentials: Ids of credentials that are revoked by it.
        unknown_keys: How many nkeys are dead now that no credential here has.
        retired: Signing keys that are retired by it.
        made: Signing keys that were made because none was left.
    """

    account: str
    issued_at: int
    revocations: int = 0
    credentials: Sequence[str] = ()
    unknown_keys: int = 0
    retired: Sequence[str] = field(default=())
    made: Sequence[str] = field(default=())


async def trusted_signers(session: AsyncSession, operators: Iterable[str]) -> set[str]:
    """Who may sign our accounts.

    Args:
        session: Any.
        operators: Operator JWTs that servers run with: the operator's signing key may be newer
            than the database. Another operator's are not believed.
    """
    ours = (await session.scalars(select(col(Operator.jwt)))).one()
    known = decode_operator(ours)
    found = account_signers(known)
    for jwt in set(operators):
        try:
            claims = decode_operator(jwt)
        except InvalidClaims:
            continue
        if claims.subject == known.subject and claims.issuer == known.subject:
            found |= account_signers(claims)
    return found


def newer(account: Account, found: Iterable[str], signers: set[str]) -> list[AccountClaims]:
    """The JWTs of the account that are newer than its own, the newest first.

    Args:
        account: Ours.
        found: What servers hold.
        signers: See ``trusted_signers``.
    """
    claims = []
    for jwt in set(found):
        try:
            claims.append(decode_account(jwt))
        except InvalidClaims:
            continue
    fitting = [
        it
        for it in claims
        if it.subject == account.public_key
        and it.issuer in signers
        and account.issued_at < it.issued_at < _FARTHEST
    ]
    return sorted(fitting, key=lambda it: -it.issued_at)


async def merge_account(
    session: AsyncSession,
    keystore: Keystore,
    account: Account,
    found: Sequence[AccountClaims],
    now: int,
) -> Merged:
    """Take over what the account's newer JWTs say has ended.

    Args:
        session: Writing, with the account's row locked; the edge commits.
        keystore: Seals a new signing key where none is left.
        account: Not an adopted one.
        found: At least one, see ``newer``.
        now: Seconds since the epoch.

    Raises:
        KeyUnavailable: A signing key is needed and can't be sealed.
    """
    newest = found[0]
    account.issued_at = newest.issued_at
    await raise_revision(session, account.id)
    news = await _news(session, account.id, found)
    everybody = news.pop(_EVERYBODY, None)
    killed, unknown = await _kill(session, account, news, now)
    if everybody is not None:
        killed += await _kill_everybody(session, account, everybody, now)
    await _note(session, account, news, everybody, now)
    retired, made = await retire_missing(session, keystore, account, newest, now)
    merged = Merged(
        account.name,
        newest.issued_at,
        len(news) + (everybody is not None),
        killed,
        unknown,
        retired,
        made,
    )
    details = {
        "issued_at": newest.issued_at,
        "revocations": merged.revocations,
        "credentials": len(killed),
        "unknown_keys": unknown,
        "retired": list(retired),
        "made": list(made),
    }
    event = audit.event(
        _ITSELF, "account.merge", "account", account.public_key, details, now * 1000
    )
    await audit.append(session, [event])
    await session.flush()
    return merged


async def _news(
    session: AsyncSession, account_id: str, found: Sequence[AccountClaims]
) -> dict[str, int]:
    """Entries that are in the JWTs and not in the rows, or later there."""
    rows = await session.execute(
        select(col(Revocation.public_key), col(Revocation.revoked_at)).where(
            col(Revocation.account_id) == account_id
        )
    )
    known = {row.public_key: row.revoked_at for row in rows}
    news: dict[str, int] = {}
    for claims in found:
        for key, moment in claims.revocations.items():
            if moment > max(known.get(key, -1), news.get(key, -1)):
                news[key] = moment
    return news


async def _kill(
    session: AsyncSession, account: Account, news: Mapping[str, int], now: int
) -> tuple[list[str], int]:
    """End these nkeys for ever: the ids of their credentials, and how many have none here."""
    if account.kind != "people":
        return [], 0
    killed: list[str] = []
    unknown = 0
    keys = sorted(news)
    for place in range(0, len(keys), _PAGE):
        page = keys[place : place + _PAGE]
        rows = await session.scalars(
            select(Credential).where(col(Credential.public_key).in_(page)).with_for_update()
        )
        credentials = list(rows)
        killed += await _revoke(session, [it for it in credentials if it.revoked_at is None], now)
        lost = sorted(set(page) - {it.public_key for it in credentials})
        unknown += len(lost)
        if lost:
            kind = postgresql if _on_postgresql(session) else sqlite
            await session.execute(
                kind.insert(DeadKey).on_conflict_do_nothing(),
                [{"public_key": key, "died_at": now} for key in lost],
            )
    return killed, unknown


async def _kill_everybody(
    session: AsyncSession, account: Account, moment: int, now: int
) -> list[str]:
    """Entries up to the moment were replaced by one: whose they were, nobody knows any more."""
    if account.kind != "people":
        return []
    larger = func.greatest if _on_postgresql(session) else func.max
    later = larger(func.coalesce(col(User.superseded_at), 0), moment)
    await session.execute(
        update(User).values(superseded_at=later).execution_options(synchronize_session=False)
    )
    rows = await session.scalars(
        select(Credential)
        .where(col(Credential.revoked_at).is_(None))
        .where(col(Credential.issued_at) <= moment)
        .with_for_update()
    )
    return await _revoke(session, list(rows), now)


async def _revoke(session: AsyncSession, credentials: list[Credential], now: int) -> list[str]:
    events = []
    for credential in credentials:
        credential.revoked_at = now
        details = {
            "public_key": credential.public_key,
            "user_id": credential.user_id,
            "reason": "cut after the database's state was saved",
        }
        target = ("credential", credential.id)
        events.append(audit.event(_ITSELF, "credential.revoke", *target, details, now * 1000))
    await session.flush()
    await audit.append(session, events)
    return [it.id for it in credentials]


async def _note(
    session: AsyncSession,
    account: Account,
    news: Mapping[str, int],
    everybody: int | None,
    now: int,
) -> None:
    """Write the entries, for as long as what they hit may live."""
    longest = await session.scalar(
        select(func.max(col(Credential.alive_until) - col(Credential.issued_at)))
    )
    life = max(_SHORTEST_LIFE, longest or 0)
    cuts = [Cut(key, at, max(at, now) + life) for key, at in sorted(news.items())]
    if len(cuts) + await live_revocations(session, account.id, now) > MOST_REVOCATIONS:
        # They would not fit: one for everybody takes the place of all.
        everybody = max(everybody or 0, now, *news.values())
        cuts = []
        await session.execute(
            delete(Revocation)
            .where(col(Revocation.account_id) == account.id)
            .where(col(Revocation.revoked_at) <= everybody)
        )
    if everybody is not None:
        cuts.append(Cut(_EVERYBODY, everybody, max(everybody, now) + life))
    await note_revocations(session, cuts, account_id=account.id, now=now)


def _on_postgresql(session: AsyncSession) -> bool:
    return session.get_bind().dialect.name == "postgresql"
