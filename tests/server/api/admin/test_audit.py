"""Reading the audit over HTTP, on both databases."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select, text

from authsvc.server import audit
from authsvc.server.audit.listing import _milliseconds
from authsvc.server.models import AuditEvent, Credential, Revocation, UsedProof, User
from tests.fixtures.authsvc import LiveService, StartService

ROUTE = "/v1/admin/audit"
START = 1_700_000_000_000


@pytest.fixture
def service(emptied_service: LiveService) -> LiveService:
    """One for the module, emptied for each test."""
    return emptied_service


async def fill(service: LiveService, count: int) -> None:
    rows = []
    for number in range(count):
        actor = audit.Actor("api_key", f"key_{number % 2}")
        context = audit.Context(actor, f"req_{number}", "192.0.2.1")
        action = ("credential.issue", "credential.renew", "credentials.x", "user.create")[
            number % 4
        ]
        row = audit.event(
            context, action, "credential", f"crd_{number % 5}", {"n": number}, START + number * 1000
        )
        rows.append(row)
    async with service.running.database.writing() as session:
        await session.execute(text("DELETE FROM audit_events"))
        await audit.append(session, rows)


async def listed(service: LiveService, query: str = "") -> list[int]:
    answer = await service.admin("GET", ROUTE + query, "audit:read")
    assert answer.status_code == 200, answer.text
    return [item["details"]["n"] for item in answer.json()["items"]]


async def test_an_item_is_as_the_contract_has_it(service: LiveService) -> None:
    body = (await service.login("alice@example.com")).json()
    answer = await service.admin("GET", f"{ROUTE}?target={body['id']}", "audit:read")
    assert answer.headers["content-type"] == "application/json"
    (item,) = answer.json()["items"]
    assert answer.json()["next_cursor"] is None
    assert list(item) == [
        *("id", "at", "actor", "action", "target", "request_id", "address", "details")
    ]
    assert re.fullmatch(r"evt_[0-9a-v]{26}", item["id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", item["at"])
    assert abs(datetime.fromisoformat(item["at"]).timestamp() - datetime.now(UTC).timestamp()) < 30
    assert item["actor"]["kind"] == "user"
    assert item["action"] == "credential.issue"
    assert item["target"] == {"kind": "credential", "id": body["id"]}
    assert item["address"] == "127.0.0.1"
    assert item["details"]["public_key"] == body["public_key"]


async def test_pages_newest_first_and_filters(service: LiveService) -> None:
    await fill(service, 12)
    assert await listed(service) == list(range(11, -1, -1))
    seen: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        query = "?limit=5" + (f"&cursor={cursor}" if cursor else "")
        page = (await service.admin("GET", ROUTE + query, "audit:read")).json()
        seen += [item["details"]["n"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert seen == list(range(11, -1, -1))
    assert await listed(service, "?actor=key_1") == [11, 9, 7, 5, 3, 1]
    assert await listed(service, "?action=credential.issue") == [8, 4, 0]
    assert await listed(service, "?action=credential.") == [9, 8, 5, 4, 1, 0]
    assert await listed(service, "?action=credential") == []
    assert await listed(service, "?target=crd_3") == [8, 3]
    assert await listed(service, "?request_id=req_7") == [7]
    assert await listed(service, "?since=2023-11-14T22:13:22Z&until=2023-11-14T22:13:24Z") == [3, 2]
    assert await listed(service, "?actor=key_0&action=credential.&target=crd_0") == [0]


async def test_export_is_the_same_a_line_each_oldest_first(
    service: LiveService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("authsvc.server.audit.listing._PAGE", 5)
    await fill(service, 12)
    answer = await service.admin("GET", ROUTE + "/export", "audit:read")
    assert answer.headers["content-type"] == "application/x-ndjson"
    items = [json.loads(line) for line in answer.text.splitlines()]
    page = (await service.admin("GET", ROUTE, "audit:read")).json()["items"]
    assert items == page[::-1]
    query = "?since=2023-11-14T22:13:22Z&until=2023-11-14T22:13:24Z"
    answer = await service.admin("GET", ROUTE + "/export" + query, "audit:read")
    assert [json.loads(line)["details"]["n"] for line in answer.text.splitlines()] == [2, 3]
    answer = await service.admin("GET", ROUTE + "/export?actor=nobody", "audit:read")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("path", [ROUTE, ROUTE + "/export"])
async def test_what_is_asked_wrongly_is_refused(service: LiveService, path: str) -> None:
    for query in (
        "?action=%27",
        "?actor=%00",
        "?since=yesterday",
        "?since=2026-01-01T00:00:00",
        "?since=20260101",
        "?target=",
    ):
        answer = await service.admin("GET", path + query, "audit:read")
        assert answer.status_code == 422, (query, answer.text)
        assert answer.json()["type"] == "urn:authsvc:problem:invalid-input"
    for scopes, status in ((("users:read", "keys:rotate"), 403), (("admin",), 200)):
        assert (await service.admin("GET", path, *scopes)).status_code == status
    assert (await service.http.get(path)).status_code == 401


async def test_limits_and_cursors_out_of_range_are_refused(service: LiveService) -> None:
    for query in ("?limit=0", "?limit=1001", "?cursor=x", "?cursor=-1", f"?cursor={10**19}"):
        assert (await service.admin("GET", ROUTE + query, "audit:read")).status_code == 422


def test_a_part_of_a_millisecond_counts_up() -> None:
    found = [_milliseconds(datetime(1970, 1, 1, 0, 0, 1, us, UTC)) for us in (0, 1, 1000, 999_999)]
    assert found == [1000, 1001, 1001, 2000]


_REFUSE = {
    True: [
        """CREATE TRIGGER refuse BEFORE INSERT ON audit_events
           BEGIN INSERT INTO a_table_that_is_gone VALUES (1); END"""
    ],
    False: [
        """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full'; END $$""",
        """CREATE TRIGGER refuse BEFORE INSERT ON audit_events
           FOR EACH ROW EXECUTE FUNCTION refuse()""",
    ],
}
"""Triggers that let no event in, by whether it is SQLite."""


async def counts(service: LiveService) -> list[int]:
    async with service.running.database.reading() as session:
        return [
            int(await session.scalar(select(func.count()).select_from(table)) or 0)
            for table in (User, Credential, AuditEvent, UsedProof, Revocation)
        ]


async def test_no_credential_leaves_when_its_event_cannot_be_written(
    start_service: StartService,
) -> None:
    service = await start_service()
    alice = (await service.login("alice@example.com")).json()
    key = service.keys["alice@example.com"]
    database = service.running.database
    async with database.writing() as session:
        for statement in _REFUSE[database.is_sqlite]:
            await session.execute(text(statement))
    before = await counts(service)
    answers = await asyncio.gather(
        service.login("bob@example.com"),
        service.login("carol@example.com"),
        service.renew(alice["jwt"], key),
        service.call("DELETE", f"/v1/credentials/{alice['id']}", "DPoP", alice["jwt"], key),
    )
    for answer in answers:
        assert answer.json()["type"] == "urn:authsvc:problem:store-unavailable"
        assert "eyJ" not in answer.text
    assert [answer.status_code for answer in answers] == [503] * 4
    assert await counts(service) == before
    async with database.writing() as session:
        on = "" if database.is_sqlite else " ON audit_events"
        await session.execute(text("DROP TRIGGER refuse" + on))
    assert (await service.renew(alice["jwt"], key)).status_code == 201
