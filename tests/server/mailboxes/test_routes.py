"""Apps and mailboxes over HTTP, on both databases."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select
from sqlmodel import col

from authsvc.server.models import AuditEvent
from tests.fixtures.authsvc import LiveService, StartService
from tests.server.mailboxes.post import Person, person


@pytest.fixture
def service(shared_service: LiveService) -> LiveService:
    """One for all: each test has people of its own."""
    return shared_service


async def test_an_app_comes_and_goes(service: LiveService, alice: Person, bob: Person) -> None:
    made = await alice.done("PUT", "/v1/me/apps/Ping.Pong", json={"offline": True})
    assert (made["name"], made["token"], made["offline"]) == ("ping.pong", "ping%2Epong", True)
    listed = {key: made[key] for key in ("id", "name", "token", "offline", "created_at")}
    assert await alice.done("GET", "/v1/me/apps") == {"items": [listed], "next_cursor": None}
    shown = [{"name": "ping.pong", "token": "ping%2Epong", "offline": True}]
    assert (await alice.done("GET", "/v1/me"))["apps"] == shown
    for who in (alice.name, (await users(service))[alice.name]):
        assert (await bob.done("GET", f"/v1/users/{who}/apps"))["items"] == [listed]
    assert (await bob.done("GET", "/v1/me/apps"))["items"] == []
    assert (await bob.call("GET", "/v1/users/nobody@example.com/apps")).status_code == 404
    gone = await alice.done("DELETE", "/v1/me/apps/ping.pong")
    assert gone["id"] == made["id"]
    assert (await alice.done("GET", "/v1/me/apps"))["items"] == []
    assert (await alice.call("DELETE", "/v1/me/apps/ping.pong")).status_code == 404


async def users(service: LiveService) -> dict[str, str]:
    items = (await service.admin("GET", "/v1/admin/users?limit=1000")).json()["items"]
    return {item["username"]: item["id"] for item in items}


async def test_what_is_left_out_stays(alice: Person) -> None:
    whole = {"responses": True, "max_age": 86400, "max_pending": 7}
    assert await alice.done("GET", "/v1/me/mailbox") == {
        "responses": False,
        "max_age": 604800,
        "max_pending": 1000,
    }
    for body in (whole, {"responses": True}, {}, None):
        kw = {} if body is None else {"json": body}
        answer = await alice.done("PUT", "/v1/me/mailbox", **kw)
        answer.pop("propagation")
        assert answer == whole == await alice.done("GET", "/v1/me/mailbox")
    # Registering an app changes no limits either, nor does registering it again.
    for _ in range(2):
        await alice.done("PUT", "/v1/me/apps/chat", json={"offline": True})
    assert (await alice.done("PUT", "/v1/me/apps/chat"))["offline"] is True
    assert await alice.done("GET", "/v1/me/mailbox") == whole


REFUSED: list[tuple[str, object]] = [
    ("apps/chat", {"offline": 1}),
    ("apps/chat", {"offine": True}),
    ("apps/" + "a" * 65, {}),
    ("apps/a%00b", {}),
    ("mailbox", {"responses": "yes"}),
    ("mailbox", {"max_age": 59}),
    ("mailbox", {"max_age": 10**9}),
    ("mailbox", {"max_pending": 0}),
    ("mailbox", {"max_pending": 10_001}),
    ("mailbox", {"max_pending": 1.5}),
    ("mailbox", []),
]


async def test_what_is_refused(alice: Person) -> None:
    for path, body in REFUSED:
        answer = await alice.call("PUT", f"/v1/me/{path}", json=body)
        assert answer.status_code == 422, (path, body, answer.text)
    assert (await alice.done("GET", "/v1/me/apps"))["items"] == []


async def test_a_proof_works_once(service: LiveService, alice: Person) -> None:
    for method, path in (
        ("PUT", "/v1/me/apps/chat"),
        ("PUT", "/v1/me/mailbox"),
        ("DELETE", "/v1/me/apps/chat"),
    ):
        proof = service.proof(alice.key, method, path, alice.jwt)
        headers = {"Authorization": f"DPoP {alice.jwt}", "DPoP": proof}
        answers = [(await service.http.request(method, path, headers=headers)) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 401]


async def test_pages(alice: Person) -> None:
    for name in ("c", "a", "b"):
        await alice.done("PUT", f"/v1/me/apps/{name}")
    first = await alice.done("GET", "/v1/me/apps?limit=2")
    assert [app["name"] for app in first["items"]] == ["c", "a"]
    rest = await alice.done("GET", f"/v1/me/apps?limit=2&cursor={first['next_cursor']}")
    assert ([app["name"] for app in rest["items"]], rest["next_cursor"]) == (["b"], None)


async def test_a_narrowed_credential_is_narrowed_here_too(service: LiveService) -> None:
    async with person(service, "carol@example.com", app="chat") as carol:
        await carol.done("PUT", "/v1/me/apps/chat", json={"offline": True})
        # Who submits may have the answers kept, and that is all.
        await carol.done("PUT", "/v1/me/mailbox", json={"responses": True})
        for body in ({"responses": False}, {"responses": True, "max_pending": 5}):
            answer = await carol.call("PUT", "/v1/me/mailbox", json=body)
            assert answer.status_code == 403
        for method, path in (
            ("PUT", "/v1/me/apps/other"),
            ("DELETE", "/v1/me/apps/other"),
            ("PUT", "/v1/me/mailbox"),
            ("GET", "/v1/me/apps/other/dead-letters"),
            ("POST", "/v1/me/apps/other/dead-letters/x/requeue"),
        ):
            answer = await carol.call(method, path)
            assert (answer.status_code, answer.json()["type"]) == (
                403,
                "urn:authsvc:problem:forbidden",
            )
            assert "narrowed" in answer.json()["detail"]


async def test_ceilings_hold_for_many_at_once(start_service: StartService) -> None:
    service = await start_service(user_max_apps=3, mailbox_max_count=1)
    async with (
        person(service, "alice@example.com") as alice,
        person(service, "bob@example.com") as bob,
    ):
        answers = await asyncio.gather(
            *(alice.call("PUT", f"/v1/me/apps/app{n}") for n in range(8)),
            *(bob.call("PUT", f"/v1/me/apps/app{n}") for n in range(8)),
        )
        assert [it.status_code for it in answers].count(200) == 6
        assert {it.status_code for it in answers} == {200, 409}
        assert "no more are allowed" in next(it for it in answers if it.is_error).json()["detail"]
        # One mailbox is all there may be, and one is made.
        both = await asyncio.gather(
            alice.call("PUT", "/v1/me/mailbox", json={"responses": True}),
            bob.call("PUT", "/v1/me/mailbox", json={"responses": True}),
        )
        assert sorted(it.status_code for it in both) == [200, 409]
        refused, made = sorted((alice, bob), key=lambda it: both[it is bob].status_code)[::-1]
        detail = both[refused is bob].json()["detail"]
        assert "AUTHSVC_MAILBOX_MAX_COUNT" in detail
        assert (await refused.done("GET", "/v1/me/mailbox"))["responses"] is False
        # Who gives it up makes room.
        await made.done("PUT", "/v1/me/mailbox", json={"responses": False})
        await refused.done("PUT", "/v1/me/mailbox", json={"responses": True})


async def test_changes_are_audited(service: LiveService, alice: Person) -> None:
    before = {event.id for event in await changes(service)}
    made = await alice.done("PUT", "/v1/me/apps/chat", json={"offline": True})
    await alice.done("PUT", "/v1/me/apps/chat", json={"offline": True})
    await alice.done("PUT", "/v1/me/apps/chat", json={"offline": False})
    await alice.done("PUT", "/v1/me/mailbox", json={"max_pending": 5})
    await alice.done("DELETE", "/v1/me/apps/chat")
    events = [event for event in await changes(service) if event.id not in before]
    assert [(event.action, event.details) for event in events] == [
        ("app.create", {"name": "chat", "offline": True}),
        ("app.update", {"name": "chat", "offline": False}),
        ("mailbox.update", {"before": {"max_pending": 1000}, "after": {"max_pending": 5}}),
        ("app.delete", {"name": "chat", "offline": False}),
    ]
    assert {event.actor_kind for event in events} == {"user"}
    assert events[0].target_id == made["id"]


async def changes(service: LiveService) -> list[AuditEvent]:
    async with service.running.database.reading() as session:
        found = await session.scalars(
            select(AuditEvent)
            .where(col(AuditEvent.target_kind).in_(["app", "mailbox"]))
            .order_by(col(AuditEvent.seq))
        )
        return list(found)
