"""Dead letters as rows, on both databases: whose they are, how many, how long."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import delete, select
from sqlmodel import col

from authsvc.server.mailboxes import forget_letters
from authsvc.server.models import DeadLetter
from authsvc.server.provision import letter_room
from tests.fixtures.authsvc import LiveService
from tests.fixtures.waiting import until
from tests.server.mailboxes.dying import PATH, kill, letters, ready
from tests.server.mailboxes.post import Person, person


@pytest.fixture
def service(shared_service: LiveService) -> LiveService:
    """One for all: each test has people of its own."""
    return shared_service


@pytest.fixture
async def carol(service: LiveService) -> AsyncIterator[Person]:
    async with person(service, f"carol-{secrets.token_hex(4)}@example.com") as found:
        yield found


async def test_who_may_see_and_requeue(
    service: LiveService, alice: Person, bob: Person, carol: Person
) -> None:
    await ready(alice, bob)
    await carol.done("PUT", "/v1/me/apps/chat", json={"offline": True})
    await bob.submit(alice)
    await kill(alice)
    (item,) = await letters(alice)
    for other in (bob, carol):
        assert (await other.call("POST", f"{PATH}/{item['id']}/requeue")).status_code == 404
    assert (await carol.done("GET", PATH))["items"] == []
    assert (await bob.call("GET", PATH)).status_code == 404
    for nothing in ("nothing", "%00", "ded_%FF"):
        assert (await alice.call("POST", f"{PATH}/{nothing}/requeue")).status_code == 404
    # A proof puts it back once, and of many at once one does.
    answers = await asyncio.gather(
        *(alice.call("POST", f"{PATH}/{item['id']}/requeue") for _ in range(5))
    )
    assert min(it.status_code for it in answers) == 200
    assert {it.status_code for it in answers} <= {200, 404, 409}
    assert (await alice.pull()).subject.startswith("requests.")
    assert (await alice.pull()).headers["Status"] == "404"  # type: ignore[index]


async def test_letters_are_bounded_and_forgotten(
    service: LiveService, alice: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letter_room, "MAX_LETTERS", 2)
    await ready(alice, bob)
    sent = []
    for _ in range(3):
        sent.append((await bob.submit(alice))["id"])
        await kill(alice)

        async def there() -> bool:
            items = (await alice.done("GET", PATH))["items"]
            return bool(items) and items[0]["request_id"] == sent[-1]

        await until(there, 20)
    items = await letters(alice, 2)
    assert [item["request_id"] for item in items] == sent[:0:-1]
    async with service.running.database.writing() as session:
        await forget_letters(session, time.time())
    assert len((await alice.done("GET", PATH))["items"]) == 2
    async with service.running.database.writing() as session:
        await forget_letters(session, time.time() + 604_801)
    assert (await alice.done("GET", PATH))["items"] == []


async def test_letters_go_with_their_app_and_user(
    service: LiveService, alice: Person, bob: Person
) -> None:
    async with service.running.database.writing() as session:
        await session.execute(delete(DeadLetter))

    async def count() -> int:
        async with service.running.database.reading() as session:
            return len((await session.scalars(select(col(DeadLetter.id)))).all())

    for last in (False, True):
        await ready(alice, bob)
        await bob.submit(alice, request_id=secrets.token_hex(16))
        await kill(alice)
        await letters(alice)
        assert await count() == 1
        if last:
            answer = await service.admin("DELETE", f"/v1/admin/users/{alice.name}")
            assert answer.status_code == 200
        else:
            await alice.done("DELETE", "/v1/me/apps/chat")
        assert await count() == 0
