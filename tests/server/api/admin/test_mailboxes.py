"""What waits, for whom."""

from __future__ import annotations

import pytest

from tests.fixtures.authsvc import LiveService
from tests.fixtures.waiting import until
from tests.server.mailboxes.post import person

PATH = "/v1/admin/mailboxes"


async def test_what_waits_is_counted(service: LiveService) -> None:
    assert (await service.admin("GET", PATH)).json() == {"items": [], "next_cursor": None}
    async with person(service, "alice@example.com") as alice, person(service, "bob@x.y") as bob:
        await alice.done("PUT", "/v1/me/apps/chat", json={"offline": True})
        await alice.done("PUT", "/v1/me/apps/live", json={"offline": False})
        await bob.done("PUT", "/v1/me/mailbox", json={"responses": True, "max_age": 3600})
        for _ in range(2):
            await bob.submit(alice)
        answer = await service.admin("GET", PATH, "users:read")
        assert answer.status_code == 200, answer.text
        first, second = answer.json()["items"]
        assert first["username"] == "alice@example.com"
        assert first["requests"]["messages"] == 2
        assert first["requests"]["bytes"] > 0
        assert first["requests"]["oldest_at"].endswith("Z")
        assert first["apps"] == [{"name": "chat", "waiting": 2}]
        assert (first["responses"], first["responses_kept"], first["state"]) == (
            None,
            False,
            "applied",
        )
        assert (second["max_age"], second["responses_kept"]) == (3600, True)
        assert second["responses"] == {"messages": 0, "bytes": 0, "oldest_at": None}
        assert second["requests"] is None

        # What was handed out and not acknowledged still waits.
        await alice.pull()
        mine = (await service.admin("GET", f"{PATH}?user=alice@example.com")).json()["items"]
        assert mine[0]["apps"] == [{"name": "chat", "waiting": 2}]
        page = (await service.admin("GET", f"{PATH}?limit=1")).json()
        rest = (await service.admin("GET", f"{PATH}?limit=1&cursor={page['next_cursor']}")).json()
        assert [it["username"] for it in page["items"] + rest["items"]] == [
            "alice@example.com",
            "bob@x.y",
        ]
        assert rest["next_cursor"] is None


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_can_not_be_asked_is_refused(service: LiveService) -> None:
    assert (await service.admin("GET", f"{PATH}?cursor=x")).status_code == 422
    assert (await service.admin("GET", f"{PATH}?user=nobody@x")).status_code == 404
    async with person(service, "alice@example.com") as alice:
        await alice.done("PUT", "/v1/me/apps/chat", json={"offline": True})
        await service.supervisor.stop()

        async def unreachable() -> bool:
            return (await service.admin("GET", PATH)).status_code == 503

        await until(unreachable)
