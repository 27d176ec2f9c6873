from __future__ import annotations

from sqlmodel import select

from authsvc.server import audit
from authsvc.server.database import Database
from authsvc.server.models import AuditEvent

CONTEXT = audit.Context(audit.Actor("user", "usr_1"), "req_1", "192.0.2.1")


async def test_an_event_is_kept_as_it_was(database: Database) -> None:
    row = audit.event(
        CONTEXT, "credential.issue", "credential", "crd_1", {"a": [1]}, 1_700_000_000_123
    )
    async with database.writing() as session:
        await audit.append(session, [row])
    async with database.reading() as session:
        kept = (await session.scalars(select(AuditEvent))).one()
    assert kept.model_dump(exclude={"id", "seq"}) == {
        "at": 1_700_000_000_123,
        "actor_kind": "user",
        "actor_id": "usr_1",
        "action": "credential.issue",
        "target_kind": "credential",
        "target_id": "crd_1",
        "request_id": "req_1",
        "address": "192.0.2.1",
        "details": {"a": [1]},
        "batch": None,
    }
    assert kept.id.startswith("evt_")


async def test_nothing_to_append_is_no_statement(database: Database) -> None:
    async with database.writing() as session:
        await audit.append(session, [])
        assert not session.in_transaction()
