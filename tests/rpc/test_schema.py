"""What an app says of itself, and to whom."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from authsvc.claims import format_creds
from authsvc.errors import InvalidMessage
from authsvc.rpc import Client, NoResponder, RemoteError, Request, Response, Service
from authsvc.rpc._loops.threads import in_thread
from authsvc.rpc._responder.schema import read_description
from tests.rpc.conftest import People
from tests.rpc.test_router import Ping
from tests.rpc.test_service import pair

PATH = "/.well-known/authsvc/schema"
VECTOR = json.loads((Path(__file__).parents[1] / "vectors" / "schema.json").read_text("utf-8"))


class Sum(BaseModel):
    a: int
    b: int = 0


class Total(BaseModel):
    total: int


class Odd:
    """Nothing that JSON knows."""


def sums() -> Service:
    """The app of the vector."""
    service = Service("sums")

    @service.on_request("/sum", methods=["PUT", "POST"])
    async def add(numbers: Sum, request: Request) -> Total:
        """Add two numbers.

        The second one is 0 unless given.
        """
        return Total(total=numbers.a + numbers.b)

    @service.on_request("/text", methods=["GET"])
    def text(body: bytes) -> str:
        return str(len(body))

    @service.on_request("/any")
    async def anything(request):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return request.json()

    return service


def by_path(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {endpoint["path"]: endpoint for endpoint in document["endpoints"]}


async def test_an_app_describes_itself_as_the_vector_says(people: People) -> None:
    peer = await pair(people, sums())
    assert await peer.describe() == VECTOR
    assert (await peer.call(PATH, method="GET")).headers["content-type"] == "application/json"
    assert (await peer.call(PATH)).status == 405
    alice = people.clients[-1]
    assert await alice.describe(peer.name, "sums", timeout=5) == VECTOR
    assert await alice.describe(f"syft://{peer.name}/app_data/sums") == VECTOR
    creds = people.kit.user_creds(alice.username)
    blocking = Client(creds=format_creds(creds.jwt, creds.key), servers=[people.kit.url])
    await in_thread(blocking.connect)
    assert await in_thread(partial(blocking.describe, peer.name, "sums", timeout=5)) == VECTOR
    await in_thread(blocking.close)


async def test_only_what_one_may_call_is_described(people: People) -> None:
    service = Service("guarded")
    bob, carol = people.name("bob"), people.name("carol")

    def raises(request: Request) -> bool:
        raise KeyError(request.path)

    for path, allow in [
        ("/all", None),
        ("/carol", [carol]),
        ("/not-carol", lambda name: name != carol),
        ("/raises", raises),
    ]:
        service.on_request(path, allow=allow)(Odd)
    peer = await pair(people, service)
    assert set(by_path(await peer.describe())) == {"/all", "/not-carol"}
    as_carol = (await people.client("carol")).peer(bob, "guarded")
    assert set(by_path(await as_carol.describe())) == {"/all", "/carol"}


async def test_an_app_that_refuses_or_hides_tells_nothing(people: People) -> None:
    bob = await people.client("bob")
    alice = await people.client("alice")
    await people.serve(Service("closed", allow=["carol@example.com"]), bob)
    await people.serve(Service("hidden", publish_schema=False), bob)
    for app, status in (("closed", 403), ("hidden", 404)):
        with pytest.raises(RemoteError) as caught:
            await alice.describe(bob.username, app)
        assert caught.value.status == status
    with pytest.raises(NoResponder):
        await alice.describe(bob.username, "none")


def kinds() -> Service:
    service = Service("kinds")

    @service.on_request("/list")
    async def of_list(body: list[int]) -> dict[str, Any]:
        return {"n": len(body)}

    @service.on_request("/annotated")
    async def annotated(body: Annotated[Sum, Field(description="two")]) -> Response:
        return Response(body.a)

    @service.on_request("/dataclass")
    async def dataclass(ping: Ping) -> None: ...

    @service.on_request("/plain")
    async def plain(body: dict) -> int:  # type: ignore[type-arg]
        return len(body)

    async def by_name(name: str, _request: Request) -> int:
        """Say how long the name is."""
        return len(name)

    service.on_request("/partial")(partial(by_name, "bob"))

    @service.on_request("/defaults")
    async def defaults(request: Request, limit: int = 5, *more: int) -> None: ...

    @service.on_request("/streams")
    async def streams(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for piece in body:
            yield piece

    @service.on_request("/odd")
    async def odd(service: Service) -> Odd: ...  # type: ignore[empty-body]

    return service


async def test_every_kind_of_body_has_its_schema(people: People) -> None:
    found = by_path(await (await pair(people, kinds())).describe())
    assert found["/list"]["request"]["schema"] == {"type": "array", "items": {"type": "integer"}}
    assert found["/list"]["response"]["schema"]["type"] == "object"
    assert found["/annotated"]["request"]["schema"]["description"] == "two"
    assert "response" not in found["/annotated"]
    assert found["/dataclass"]["request"]["schema"]["required"] == ["message"]
    assert "response" not in found["/dataclass"]
    assert found["/plain"]["request"]["schema"] == {"type": "object"}
    assert found["/plain"]["response"]["schema"] == {"type": "integer"}
    assert found["/streams"]["request"] == {"content_type": "application/octet-stream"}
    assert "response" not in found["/streams"]
    assert found["/partial"]["description"] == "Say how long the name is."
    for path in ("/odd", "/defaults"):
        assert found[path] == {"path": path, "methods": ["POST"]}


async def test_without_pydantic_plain_types_are_described(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service("plain")

    @service.on_request("/")
    async def plain(body: dict[str, Any]) -> list[Odd]:
        return []

    @service.on_request("/dataclass")
    async def dataclass() -> Ping:
        return Ping("")

    monkeypatch.setitem(sys.modules, "pydantic", None)
    found = by_path(await (await pair(people, service)).describe())
    assert found["/"]["request"]["schema"] == {"type": "object"}
    assert found["/"]["response"]["schema"] == {"type": "array"}
    assert "response" not in found["/dataclass"]


async def test_the_path_is_taken() -> None:
    with pytest.raises(ValueError, match="answered by the library"):
        Service("s").on_request(PATH, methods="GET")


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"endpoints": 1}', b"\xff"])
async def test_an_answer_that_is_no_description_is_told(people: People, content: bytes) -> None:
    with pytest.raises(InvalidMessage):
        read_description(Response(content))
