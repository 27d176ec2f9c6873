"""Who is connected now."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fixtures.authsvc import LiveService, StartService
from tests.fixtures.waiting import until
from tests.server.api.admin.live import connected, user_key

PATH = "/v1/admin/connections"


@pytest.fixture
def service(emptied_service: LiveService) -> LiveService:
    """One for the module, emptied for each test."""
    return emptied_service


async def listed(service: LiveService, query: str = "") -> dict[str, Any]:
    answer = await service.admin("GET", f"{PATH}{query}", "users:read")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_people_are_online_as_long_as_they_are_connected(service: LiveService) -> None:
    assert await listed(service) == {
        "items": [],
        "next_cursor": None,
        "total": 0,
        "users": 0,
        "silent": [],
    }
    alice, bob = user_key(), user_key()
    first = (await service.login("alice@example.com", alice, name="laptop")).json()
    second = (await service.login("bob@example.com", bob)).json()
    async with (
        connected(service, first["jwt"], alice) as one,
        connected(service, first["jwt"], alice),
        connected(service, second["jwt"], bob),
    ):
        await one.client.publish("requests.alice@example%2Ecom.bob.chat", b"12345")
        await one.client.flush()
        found = await listed(service)
        assert (found["total"], found["users"]) == (3, 2)
        names = [it["username"] for it in found["items"]]
        assert names == ["bob@example.com", "alice@example.com", "alice@example.com"]
        oldest = found["items"][-1]
        assert oldest["credential_id"] == first["id"]
        assert oldest["credential_name"] == "laptop"
        assert oldest["public_key"] == first["public_key"]
        assert oldest["address"] == "127.0.0.1"
        assert oldest["sent"] == {"messages": 1, "bytes": 5}
        assert oldest["received"] == {"messages": 0, "bytes": 0}
        assert oldest["server"]["name"] == "authsvc-nats"
        assert oldest["connected_at"].endswith("Z")
        assert "jwt" not in oldest

        mine = await listed(service, "?user=alice@example.com")
        assert (mine["total"], mine["users"]) == (2, 1)
        assert (await listed(service, f"?credential={second['id']}"))["total"] == 1
        page = await listed(service, "?limit=2")
        rest = await listed(service, f"?limit=2&cursor={page['next_cursor']}")
        assert [it["id"] for it in page["items"] + rest["items"]] == [
            it["id"] for it in found["items"]
        ]
        assert rest["next_cursor"] is None
        await service.admin("POST", f"/v1/admin/credentials/{second['id']}/revoke")

        async def gone() -> bool:
            return bool((await listed(service))["users"] == 1)

        await until(gone)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_can_not_be_asked_is_refused(start_service: StartService) -> None:
    service = await start_service()
    for query in ("?cursor=x", "?cursor=%00", "?limit=0"):
        assert (await service.admin("GET", PATH + query)).status_code == 422
    assert (await service.admin("GET", PATH + "?user=nobody@x")).status_code == 404
    await service.supervisor.stop()

    async def unreachable() -> bool:
        return (await service.admin("GET", PATH)).status_code == 503

    await until(unreachable)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_more_than_one_answer_holds(
    start_service: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("authsvc.server.provision.connections._PAGE", 2)
    service = await start_service()
    key = user_key()
    jwt = (await service.login("alice@example.com", key)).json()["jwt"]
    async with (
        connected(service, jwt, key),
        connected(service, jwt, key),
        connected(service, jwt, key),
        connected(service, jwt, key),
    ):
        found = await listed(service)
        assert found["total"] == len({it["id"] for it in found["items"]}) == 4
        assert found["silent"] == []
