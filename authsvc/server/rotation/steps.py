"""The steps of a rotation, each in a transaction of the caller's, with its audit event.

All lock the account's row first: of replicas that rotate at the same moment one makes the key of
the next generation, and the others find it made.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from authsvc.claims import decode_account
from authsvc.errors import Conflict, NotFound, WouldCutOff
from authsvc.nkey import KeyPair, Prefix
from authsvc.server import audit
from authsvc.server.keystore import Keystore, verify_master_key
from authsvc.server.models import Account, SigningKey, key_slot, new_id
from authsvc.server.provision.reconcile import Propagation
from authsvc.server.provision.revisions import raise_revision
from authsvc.server.rotation.lines import Line, Needed, read_line

__all__ = ["Rotated", "activate", "choose_retiring", "note", "prepare", "retire"]


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a step did, and how far it has come among the servers."""

    key_id: str
    propagation: Propagation


async def prepare(
    session: AsyncSession,
    keystore: Keystore,
    account: Account,
    *,
    context: audit.Context,
    now: int,
    automatic: bool,
    since: int | None = None,
) -> SigningKey:
    """Make the key of the next generation; the account JWT will list it.

    A key that is prepared already is taken instead.

    Args:
        session: Writing; the edge commits.
        keystore: Seals the seed.
        account: Locked.
        context: Who does it, for the audit.
        now: Seconds since the epoch.
        automatic: Whether the key becomes active by itself.
        since: The generation that signed when the caller was asked; where a newer one signs by
            now, that one is the answer.
    """
    line = await read_line(session, account.id)
    if line.prepared is not None:
        line.prepared.automatic |= automatic
        return line.prepared
    signer = line.signer
    if since is not None and signer is not None and signer.generation > since:
        return signer
    await verify_master_key(session, keystore, hold=True)  # so that it seals by today's
    pair = KeyPair.generate(Prefix.ACCOUNT)
    key = SigningKey(
        id=new_id("key"),
        public_key=pair.public.text,
        owner="account",
        account_id=account.id,
        purpose="signing",
        slot=key_slot("account", "signing", account.id),
        generation=line.next_generation,
        name=f"{account.name} signing key",
        sealed_seed=keystore.seal(pair, pair.public.text),
        state="prepared",
        automatic=automatic,
        created_at=now,
    )
    session.add(key)
    await session.flush()
    await raise_revision(session, account.id)
    await note(session, context, "key.prepare", account.public_key, key)
    return key


async def activate(
    session: AsyncSession, account: Account, key_id: str, *, context: audit.Context, now: int
) -> SigningKey:
    """Let a prepared key sign from now on; the caller knows that every server trusts it.

    Args:
        session: Writing; the edge commits.
        account: Locked.
        key_id: The key's id; one that is active already stays so.
        context: Who does it, for the audit.
        now: Seconds since the epoch.

    Raises:
        Conflict: It was retired, or the account JWT does not list it yet.
    """
    line = await read_line(session, account.id)
    key = next((key for key in line.keys if key.id == key_id), None)
    if key is None or key.state == "retired":
        raise Conflict("the key was retired meanwhile; prepare another one")
    if key.state == "active":
        return key
    if key.public_key not in decode_account(account.jwt).signing_keys:
        raise Conflict("the account JWT does not list the key yet; try again in a moment")
    former = line.signer
    key.state = "active"
    key.activated_at = now
    extra = {"former": former.public_key} if former else {}
    await note(session, context, "key.activate", account.public_key, key, **extra)
    return key


def choose_retiring(line: Line, public_key: str | None) -> SigningKey:
    """The key to retire: the one that is named, else the oldest that signs no more.

    Raises:
        NotFound: The account has no such key.
        Conflict: It signs, or is retired already, or there is none to retire.
    """
    if public_key is None:
        if not line.superseded:
            raise Conflict("there is no key to retire: only the one that signs is trusted")
        return line.superseded[0]
    key = next((key for key in line.keys if key.public_key == public_key), None)
    if key is None:
        raise NotFound("the account has no such signing key")
    if key is line.signer:
        raise Conflict("this key signs; rotate first, then retire it")
    if key.state == "retired":
        raise Conflict("this key is retired already")
    return key


async def retire(
    session: AsyncSession,
    account: Account,
    key: SigningKey,
    found: Needed,
    *,
    context: audit.Context,
    now: int,
    confirm: bool,
) -> None:
    """Trust a key no more: nats-server disconnects whom it signed. Its seed is erased.

    Args:
        session: Writing; the edge commits.
        account: Locked.
        key: Of its line, from ``choose_retiring``.
        found: Who needs it still.
        context: Who does it, for the audit.
        now: Seconds since the epoch.
        confirm: Whether those may be cut off.

    Raises:
        WouldCutOff: The overlap is not over, and it was not confirmed.
    """
    early = key.state == "active" and now < found.until
    if early and not confirm:
        whom = f"{found.credentials} credentials" if found.credentials != 1 else "1 credential"
        raise WouldCutOff(
            f"the overlap lasts {found.until - now} seconds more: {whom} would be cut off, and "
            "whoever still uses an older JWT by this key; wait, or confirm it",
            found.credentials,
            found.users,
        )
    key.state = "retired"
    key.retired_at = now
    key.sealed_seed = b""
    await session.flush()
    await raise_revision(session, account.id)
    cut = {"early": early, "credentials": found.credentials if early else 0}
    await note(session, context, "key.retire", account.public_key, key, **cut)


async def note(
    session: AsyncSession,
    context: audit.Context,
    action: str,
    owner: str,
    key: SigningKey,
    **more: object,
) -> None:
    """Write the audit event of a step; ``owner`` is the account's or operator's public key."""
    details = {
        "public_key": key.public_key,
        key.owner: owner,
        "generation": key.generation,
        **more,
    }
    at = max(key.created_at, key.activated_at or 0, key.retired_at or 0) * 1000
    await session.flush()
    await audit.append(session, [audit.event(context, action, "key", key.id, details, at)])
