"""``Idempotency-Key`` over HTTP: a repeat is answered and not done again."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import orjson
import pytest
from pydantic import BaseModel
from sqlalchemy import func, select
from starlette.requests import Request

from authsvc.errors import RequestInProgress
from authsvc.server import audit
from authsvc.server.api.admin.deps import Administrator
from authsvc.server.api.admin.idempotent import idempotent
from authsvc.server.app import create_app, open_service
from authsvc.server.models import ApiKey, AuditEvent, Grant, IdempotencyKey
from tests.fixtures.authsvc import LiveService

KEYS, GRANTS = "/v1/admin/api-keys", "/v1/admin/grants"
BODY = {"name": "ci", "scopes": ["users:read"]}


@pytest.fixture
def service(emptied_service: LiveService) -> LiveService:
    """One for the module, emptied for each test."""
    return emptied_service


async def count(service: LiveService, table: Any) -> int:
    async with service.running.database.reading() as session:
        return await session.scalar(select(func.count()).select_from(table)) or 0


async def post(
    service: LiveService, by: str, path: str, body: Any, key: str = "k-1", **kw: Any
) -> httpx.Response:
    return await service.admin(
        "POST", path, key=by, json=body, headers={"Idempotency-Key": key}, **kw
    )


async def test_a_secret_is_not_shown_again(service: LiveService) -> None:
    root = await service.api_key("admin")
    before, noted = await count(service, ApiKey), await count(service, AuditEvent)
    first = await post(service, root, KEYS, BODY)
    assert first.status_code == 201, first.text
    assert "idempotency-replayed" not in first.headers
    text = first.json()["key"]
    # Another spelling of the same body is the same request.
    second = await service.admin(
        "POST",
        KEYS,
        key=root,
        content=b'{ "scopes": ["users:read"], "name": "ci", "expires_at": null }',
        headers={"Idempotency-Key": "k-1"},
    )
    assert second.status_code == 201, second.text
    assert second.headers["idempotency-replayed"] == "true"
    assert second.json() == {**first.json(), "key": None, "secret_shown": True}
    assert text not in second.text
    assert await count(service, ApiKey) == before + 1
    assert await count(service, AuditEvent) == noted + 1
    async with service.running.database.reading() as session:
        (row,) = await session.scalars(select(IdempotencyKey))
    assert text.encode() not in row.body
    assert "body" not in repr(row)


async def test_a_key_is_one_requests(service: LiveService) -> None:
    root, other = await service.api_key("admin"), await service.api_key("admin")
    assert (await post(service, root, KEYS, BODY)).status_code == 201
    mismatch = await post(service, root, KEYS, {**BODY, "name": "other"})
    assert mismatch.status_code == 422
    assert mismatch.json()["type"] == "urn:authsvc:problem:idempotency-mismatch"
    assert (await post(service, root, f"{KEYS}?x=1", BODY)).status_code == 422
    # Another API key, another route and another key are other requests.
    fresh = [
        await post(service, other, KEYS, BODY),
        await post(service, root, GRANTS, {"role": "r", "publish": ["w"]}),
        await post(service, root, KEYS, BODY, "k-2"),
        await service.admin("POST", KEYS, key=root, json=BODY),
        await service.admin("POST", KEYS, key=root, json=BODY),
    ]
    assert {answer.status_code for answer in fresh} == {201}
    assert not any("idempotency-replayed" in answer.headers for answer in fresh)
    assert len({answer.json()["id"] for answer in fresh}) == 5


async def test_what_is_refused_is_not_kept(service: LiveService) -> None:
    root = await service.api_key("admin")
    body = {"username": "alice@example.com", "publish": ["w"]}
    assert (await post(service, root, GRANTS, body)).status_code == 404
    await service.login("alice@example.com")
    made = await post(service, root, GRANTS, body)
    assert made.status_code == 201
    again = await post(service, root, GRANTS, body)
    assert again.json() == made.json()
    # Even when what it made is gone: the answer is that of then, and nothing is made anew.
    await service.admin("DELETE", f"{GRANTS}/{made.json()['id']}", key=root)
    assert (await post(service, root, GRANTS, body)).json() == made.json()
    assert await count(service, Grant) == 0


async def test_a_repeat_needs_what_the_first_needed(service: LiveService) -> None:
    root, mine = await service.api_key("admin"), await service.api_key("admin")
    made = await post(service, mine, KEYS, BODY)
    ids = {
        it["prefix"]: it["id"]
        for it in (await service.admin("GET", KEYS, key=root)).json()["items"]
    }
    await service.admin("DELETE", f"{KEYS}/{ids[mine[:14]]}", key=root)
    assert (await post(service, mine, KEYS, BODY)).status_code == 401
    revoke = f"{KEYS}/{made.json()['id']}/revoke"
    first = await post(service, root, revoke, None)
    assert (first.status_code, first.json()["state"]) == (200, "revoked")
    again = await post(service, root, revoke, None)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == first.json()


async def test_what_is_no_key(service: LiveService) -> None:
    root = await service.api_key("admin")
    for given in (*([key] for key in ("", "a b", "ä", "x" * 256, "a\tb")), ["a", "a"]):
        headers = [(b"Authorization", f"Bearer {root}".encode())]
        headers += [(b"Idempotency-Key", key.encode("latin-1")) for key in given]
        answer = await service.http.post(KEYS, json=BODY, headers=headers)
        assert answer.status_code == 422, given
        assert answer.json()["type"] == "urn:authsvc:problem:invalid-input"
    assert (await post(service, root, KEYS, BODY, "!" * 255)).status_code == 201


async def test_the_document_names_the_header(service: LiveService) -> None:
    paths = (await service.http.get("/openapi.json")).json()["paths"]
    for path in (KEYS, GRANTS, f"{KEYS}/{{key_id}}/revoke"):
        names = [it["name"] for it in paths[path]["post"].get("parameters", [])]
        assert "Idempotency-Key" in names, path
        assert ("key_id" in names) == ("{key_id}" in path)


async def test_two_replicas_asked_at_once(service: LiveService) -> None:
    """Each of six requests goes six times to two replicas, all at the same moment."""
    root = await service.api_key("admin")
    before = await count(service, Grant)
    async with open_service(service.settings) as running:
        app = httpx.ASGITransport(app=create_app(running))
        async with httpx.AsyncClient(transport=app, base_url=service.url) as other:

            async def ask(number: int, place: int) -> httpx.Response:
                headers = {"Authorization": f"Bearer {root}", "Idempotency-Key": f"n{number}"}
                body = {"role": "r", "publish": [f"w.{number}"]}
                http = other if place % 2 else service.http
                while True:
                    answer = await http.post(GRANTS, json=body, headers=headers)
                    if answer.status_code != 409:
                        return answer
                    assert answer.json()["type"] == "urn:authsvc:problem:request-in-progress"
                    await asyncio.sleep(0.01)

            answers = await asyncio.gather(
                *(ask(number, place) for place in range(6) for number in range(6))
            )
    assert {answer.status_code for answer in answers} == {201}
    assert await count(service, Grant) == before + 6
    assert len({answer.json()["id"] for answer in answers}) == 6
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 6


class Body(BaseModel):
    n: int = 1


def request(key: str = "k") -> Request:
    headers = [(b"idempotency-key", key.encode())]
    return Request(
        {
            "type": "http",
            "method": "POST",
            "path": "/v1/admin/x",
            "query_string": b"",
            "headers": headers,
        }
    )


def admin() -> Administrator:
    context = audit.Context(audit.Actor("api_key", "key_x"), "r", "")
    return Administrator("key_x", "x", frozenset({"admin"}), context)


async def test_inside_one_replica(service: LiveService) -> None:
    async with idempotent(request(), admin(), service.running, Body()) as once:
        assert once.first
        with pytest.raises(RequestInProgress):
            async with idempotent(request(), admin(), service.running, Body()):
                raise AssertionError
        once.answer(200, {"at": time.time()})
    async with idempotent(request(), admin(), service.running, Body()) as again:
        assert not again.first
    answer = orjson.loads(bytes(again.response(more=1).body))
    assert list(answer) == ["at", "more"]
    before = await count(service, IdempotencyKey)
    with pytest.raises(RuntimeError, match="what it answers"):
        async with idempotent(request("other"), admin(), service.running, Body()):
            pass  # a route that forgets its answer commits nothing
    assert await count(service, IdempotencyKey) == before
    assert service.running.handling == set()
