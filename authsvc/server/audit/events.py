"""What was done, by whom: one row per deed, written in the deed's own transaction.

context = Context(Actor("user", user.id), request_id, address)
await append(session, [event(context, "user.disable", "user", user.id, {}, now_ms)])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from authsvc.server.audit.chain import COLUMNS
from authsvc.server.models import AuditEvent, new_id
from authsvc.server.statements import Prepared

__all__ = ["INSERT", "Actor", "Context", "append", "event"]

INSERT = Prepared(
    AuditEvent.__table__,  # type: ignore[attr-defined]
    [name for name in COLUMNS if name != "seq"],
)
"""For rows that ``event`` made, where a session is one step too many."""


class Actor(NamedTuple):
    """Who does something: ``kind`` is user, api_key or service."""

    kind: str
    id: str


class Context(NamedTuple):
    """Who does something, in which request, from where."""

    actor: Actor
    request_id: str
    address: str


def event(  # noqa: PLR0917 - they read as one sentence
    context: Context,
    action: str,
    target_kind: str,
    target_id: str,
    details: Mapping[str, Any],
    now_ms: int,
) -> dict[str, Any]:
    """The row of one deed.

    Args:
        context: Who does it.
        action: Such as ``credential.issue``.
        target_kind: Such as ``credential``.
        target_id: The target's id.
        details: What else tells about it; never a secret.
        now_ms: Milliseconds since the epoch.
    """
    return {
        "id": new_id("evt"),
        "at": now_ms,
        "actor_kind": context.actor.kind,
        "actor_id": context.actor.id,
        "action": action,
        "target_kind": target_kind,
        "target_id": target_id,
        "request_id": context.request_id,
        "address": context.address,
        "details": details,
    }


async def append(session: AsyncSession, rows: Sequence[dict[str, Any]]) -> None:
    """Write events, in one statement."""
    if rows:
        connection = await session.connection()
        await connection.run_sync(INSERT.run, rows)
