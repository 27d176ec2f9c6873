"""A service with people in it, as an administrator would find it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from authsvc.nkey import KeyPair
from tests.fixtures.authsvc import LiveService
from tests.server.api.admin.live import connected
from tests.server.mailboxes.post import person

HOSTILE = (
    '<img/src=x/onerror="document.title=1">@x',
    "\"'><script>document.title=2</script>@x",
    "javascript:alert(1)@x",
    "{{7*7}}{%raw%}@x",
    "very.long.name.of.somebody.with.many.words.in.it.and.then.some@department.example.com",
)


@asynccontextmanager
async def town(service: LiveService, name: str = "test") -> AsyncIterator[dict[str, Any]]:
    """Five people of whom three are online, grants, requests that wait, a disabled user."""
    answer = await service.admin(
        "POST", "/v1/admin/api-keys", json={"name": name, "scopes": ["admin"]}
    )
    key = str(answer.json()["key"])
    made: dict[str, Any] = {"key": key}

    async def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = await service.admin("POST", f"/v1/admin{path}", key=key, json=body)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    names = ("alice@example.com", "bob@example.com", "carol@example.org", "dave@example.org")
    async with contextlib.AsyncExitStack() as stack:
        for each in names[:2]:
            made[each] = await stack.enter_async_context(person(service, each))
        await service.login("carol@example.org", name="phone")
        made["user"] = await post(
            "/users", {"username": "station-7", "kind": "service", "roles": ["sensors"]}
        )
        gone = await post("/users", {"username": names[3], "roles": ["weather"]})
        await post(f"/users/{gone['id']}/disable", {})
        await post("/grants", {"role": "sensors", "publish": ["weather.>"], "note": "weather team"})
        await post("/grants", {"username": names[0], "subscribe": ["news.*"], "note": "news"})
        issued = await post(f"/users/{made['user']['id']}/credentials", {"name": "roof"})
        made["credential"] = issued
        key_pair = KeyPair.from_seed(issued["seed"])
        await stack.enter_async_context(connected(service, issued["jwt"], key_pair))
        alice, bob = made[names[0]], made[names[1]]
        await alice.done("PUT", "/v1/me/apps/chat", json={"offline": True})
        for _ in range(3):
            await bob.submit(alice)
        yield made
