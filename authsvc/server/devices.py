"""Terminals that ask to be let in: device authorization (RFC 8628), bound to the terminal's nkey.

    asked = await ask(session, public_key, client="laptop", address=..., now=...)
    ...                                          # the terminal shows asked.user_code to a person
    request = await find_request(session, asked.user_code, now, lock=True)
    await decide(session, request, username="alice@example.com", context=..., now=...)
    polled = await poll(session, asked.device_code, public_key, now)     # polled.token

Codes and tokens are kept as digests and work for the one nkey that asked: whoever learns a code can
neither poll with it nor log in by what it leads to.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc import subjects
from authsvc.errors import Conflict, InvalidName, NotFound, Unavailable
from authsvc.server import audit
from authsvc.server.login import DEVICE_PREFIX, device_digest
from authsvc.server.models import DeviceRequest, User, new_id

__all__ = [
    "LIFE_SECONDS",
    "TOKEN_SECONDS",
    "Asked",
    "Polled",
    "actor_named",
    "ask",
    "decide",
    "find_browser",
    "find_request",
    "forget_requests",
    "poll",
    "spelt",
]

LIFE_SECONDS = 600
"""For which a code can be entered and confirmed."""
TOKEN_SECONDS = 300
"""For which the token can be exchanged for a credential."""
_INTERVAL_SECONDS = 5
_SLOWER_SECONDS = 5
_SLOWEST_SECONDS = 60
_JITTER_MS = 200
_KEPT_SECONDS = 3600
_PER_ADDRESS = 100
_AT_ONCE = 10_000
_CODE_PREFIX = "authsvc_code_"
"""By which logs know a device code as a secret."""
# RFC 8628 section 6.1: no vowels, so no words, and nothing that looks like something else.
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Asked:
    """What a terminal gets when it asks; times in seconds."""

    device_code: str
    user_code: str
    expires_in: int
    interval: int


@dataclass(frozen=True, slots=True)
class Polled:
    """What a terminal gets when it polls: a token, or one of RFC 8628's errors."""

    error: str = ""
    token: str = ""
    interval: int = 0


def spelt(user_code: str) -> str:
    """A code as a person typed it, in the one way it is compared; empty if it can't be one."""
    letters = "".join(char for char in user_code.upper() if char.isalnum())
    return letters if len(letters) == _LENGTH and set(letters) <= set(_LETTERS) else ""


async def ask(
    session: AsyncSession, public_key: str, *, client: str, address: str, now: float
) -> Asked:
    """Take a terminal's request down.

    Args:
        session: Writing; the edge commits.
        public_key: The terminal's nkey, which it has proven.
        client: What it calls itself.
        address: Where it asks from.
        now: Seconds since the epoch.

    Raises:
        Unavailable: Too many terminals wait already.
    """
    alive = (
        select(func.count())
        .select_from(DeviceRequest)
        .where(col(DeviceRequest.state) == "pending")
        .where(col(DeviceRequest.expires_at) > int(now))
    )
    here = await session.scalar(alive.where(col(DeviceRequest.address) == address)) or 0
    if here >= _PER_ADDRESS or (await session.scalar(alive) or 0) >= _AT_ONCE:
        raise Unavailable("too many terminals wait to be let in; try again in some minutes")
    code = "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
    asked = Asked(
        device_code=_CODE_PREFIX + secrets.token_urlsafe(32),
        user_code=f"{code[:4]}-{code[4:]}",
        expires_in=LIFE_SECONDS,
        interval=_INTERVAL_SECONDS,
    )
    session.add(
        DeviceRequest(
            id=new_id("dev"),
            device_digest=device_digest(asked.device_code),
            user_digest=device_digest(code),
            public_key=public_key,
            client=client,
            address=address,
            interval=asked.interval,
            created_at=int(now),
            expires_at=int(now) + asked.expires_in,
        )
    )
    return asked


async def poll(session: AsyncSession, device_code: str, public_key: str, now: float) -> Polled:
    """What has become of a terminal's request.

    Args:
        session: Writing; to be committed whatever comes back, because polls are counted.
        device_code: As ``ask`` gave it.
        public_key: Of whoever polls.
        now: Seconds since the epoch.
    """
    found = await session.scalar(
        select(DeviceRequest)
        .where(col(DeviceRequest.device_digest) == device_digest(device_code))
        .with_for_update()
    )
    if found is None or found.public_key != public_key or found.state == "taken":
        return Polled("invalid_grant")
    if now >= found.expires_at:
        return Polled("expired_token")
    if found.state == "denied":
        return Polled("access_denied")
    if found.state == "approved":
        # Whoever did not get the last answer asks again; the token before is dead then.
        token = DEVICE_PREFIX + secrets.token_urlsafe(32)
        found.token_digest = device_digest(token)
        found.expires_at = int(now) + TOKEN_SECONDS
        return Polled(token=token)
    now_ms = int(now * 1000)
    early = now_ms - found.polled_at < found.interval * 1000 - _JITTER_MS
    found.polled_at = now_ms
    if not early:
        return Polled("authorization_pending", interval=found.interval)
    found.interval = min(found.interval + _SLOWER_SECONDS, _SLOWEST_SECONDS)
    return Polled("slow_down", interval=found.interval)


async def find_request(
    session: AsyncSession, user_code: str, now: float, *, lock: bool = False
) -> DeviceRequest:
    """The request that a person's code belongs to.

    Raises:
        NotFound: There is none, or it has expired.
    """
    code = spelt(user_code)
    statement = select(DeviceRequest).where(col(DeviceRequest.user_digest) == device_digest(code))
    found = await session.scalar(statement.with_for_update() if lock else statement)
    if not code or found is None or now >= found.expires_at:
        raise NotFound("no terminal asks with this code; it may have expired: ask again there")
    return found


async def find_browser(session: AsyncSession, secret: str, now: float) -> DeviceRequest:
    """The request that is being decided in a browser, locked.

    Raises:
        NotFound: There is none, or it has expired or was decided.
    """
    found = await session.scalar(
        select(DeviceRequest)
        .where(col(DeviceRequest.browser_digest) == device_digest(secret))
        .with_for_update()
    )
    if found is None or found.state != "pending" or now >= found.expires_at:
        raise NotFound("nothing waits to be decided here: enter the code again")
    return found


async def decide(
    session: AsyncSession,
    request: DeviceRequest,
    *,
    username: str | None,
    context: audit.Context,
    now: float,
) -> None:
    """Let a terminal in, or refuse it; noted in the audit.

    Args:
        session: Writing; the edge commits.
        request: Locked.
        username: As whom; refused if None.
        context: Who decides.
        now: Seconds since the epoch.

    Raises:
        Conflict: It was decided before.
        InvalidName: The contract refuses the name.
    """
    if request.state != "pending":
        raise Conflict(f"this request was decided before: {request.state}")
    if username is not None:
        try:
            username = subjects.username(username)
        except InvalidName as error:
            raise InvalidName(str(error), "body.username") from None
    request.state = "denied" if username is None else "approved"
    request.username = username
    request.browser_digest = None
    details = {
        "username": username,
        "public_key": request.public_key,
        "client": request.client,
        "address": request.address,
    }
    action = "device.deny" if username is None else "device.approve"
    event = audit.event(context, action, "device", request.id, details, int(now * 1000))
    await audit.append(session, [event])


async def actor_named(session: AsyncSession, username: str) -> audit.Actor:
    """Whoever signed in, for the audit: by id, or by name before the first login."""
    found = await session.scalar(select(col(User.id)).where(col(User.username) == username))
    return audit.Actor("user", found or username)


async def forget_requests(session: AsyncSession, now: float) -> None:
    """Delete requests that ended an hour before now (seconds since the epoch)."""
    old = int(now) - _KEPT_SECONDS
    await session.execute(delete(DeviceRequest).where(col(DeviceRequest.expires_at) < old))
