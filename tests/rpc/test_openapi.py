"""HTTP apps that describe themselves from their OpenAPI document, to whom they show it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel

from authsvc.errors import InvalidInput
from authsvc.rpc import Peer, RemoteError, Response, Service
from authsvc.rpc._http.openapi import described
from authsvc.rpc.http import AsgiService, BridgeService
from tests.rpc.conftest import People
from tests.rpc.load import http_server


class Node(BaseModel):
    text: str
    children: list[Node] = []


class Made(BaseModel):
    id: int


def tree(**options: Any) -> FastAPI:
    app = FastAPI(**options)

    @app.post("/nodes/{parent}", status_code=201)
    async def add(parent: int, node: Node, loud: bool = False) -> Made:  # noqa: FBT001, FBT002
        """Add a node."""
        return Made(id=parent + len(node.text) + loud)

    @app.get("/secret/all")
    async def secret() -> list[Made]:
        return []

    return app


ADD = {
    "path": "/nodes/{parent}",
    "methods": ["POST"],
    "description": "Add a node.",
    "parameters": [
        {
            "name": "parent",
            "in": "path",
            "required": True,
            "schema": {"type": "integer", "title": "Parent"},
        },
        {
            "name": "loud",
            "in": "query",
            "required": False,
            "schema": {"type": "boolean", "default": False, "title": "Loud"},
        },
    ],
}


def check(found: dict[str, Any]) -> None:
    """The first endpoint of the tree."""
    assert {key: found[key] for key in ADD} == ADD
    request, response = found["request"], found["response"]
    assert request["content_type"] == response["content_type"] == "application/json"
    assert request["schema"]["$ref"] == "#/$defs/Node"
    node = request["schema"]["$defs"]["Node"]
    assert node["properties"]["children"]["items"] == {"$ref": "#/$defs/Node"}
    assert response["schema"]["$defs"]["Made"]["properties"]["id"]["type"] == "integer"


async def described_by(people: People, service: Service, who: str = "alice") -> Peer:
    bob = await people.client("bob")
    await people.serve(service, bob)
    return (await people.client(who)).peer(bob.username, service.name)


async def test_a_fastapi_app_describes_itself(people: People) -> None:
    peer = await described_by(people, AsgiService(tree(), "tree"))
    found = await peer.describe()
    assert (found["authsvc"], found["app"]) == (1, "tree")
    first, second = found["endpoints"]
    check(first)
    assert (second["path"], second["methods"]) == ("/secret/all", ["GET"])
    health = await peer.call("/.well-known/authsvc/health", method="GET")
    assert (health.status, health.json()["name"]) == (200, "tree")
    refused = await peer.call("/.well-known/authsvc/schema", method="PUT")
    assert refused.status == 405


async def test_who_may_not_call_or_see_is_told_nothing(people: People) -> None:
    alice, carol = people.name("alice"), people.name("carol")

    async def known(x_syft_user: str = Header()) -> None:
        if x_syft_user != alice:
            raise HTTPException(403)

    guarded = tree(dependencies=[Depends(known)], openapi_url=None)

    @guarded.get("/docs.json")
    async def document() -> dict[str, Any]:
        return guarded.openapi()

    peer = await described_by(
        people, AsgiService(guarded, "guarded", allow=[alice, carol], openapi="/docs.json")
    )
    assert (await peer.describe())["endpoints"][0]["path"] == "/nodes/{parent}"
    for who, client in (("carol", await people.client("carol")), ("dave", None)):
        other = client or await people.client(who)
        with pytest.raises(RemoteError) as caught:
            await other.peer(peer.name, "guarded").describe()
        assert caught.value.status == 403


@pytest.mark.parametrize("options", [{}, {"publish_schema": False}])
async def test_an_app_without_a_document_has_no_description(
    people: People, options: dict[str, Any]
) -> None:
    app = tree() if options else tree(openapi_url=None)
    peer = await described_by(people, AsgiService(app, "none", **options))
    with pytest.raises(RemoteError) as caught:
        await peer.describe()
    assert caught.value.status == 404


async def test_a_server_behind_the_bridge_is_described_by_its_rules(people: People) -> None:
    async with http_server(tree()) as url:
        bridge = BridgeService(
            "far", url, paths=["POST /nodes/*", "/secret/**"], denied=["/secret/**"],
            openapi="/openapi.json",
        )  # fmt: skip
        peer = await described_by(people, bridge)
        (only,) = (await peer.describe())["endpoints"]
        check(only)
        assert (await peer.call("/openapi.json", method="GET")).status == 403
        assert (await peer.call("/.well-known/authsvc/info", method="GET")).status == 200
        assert (await peer.call("/.well-known/authsvc/x", method="GET")).status == 404
        plain = await described_by(people, BridgeService("plain", url), "carol")
        with pytest.raises(RemoteError) as caught:
            await plain.describe()
        assert caught.value.status == 404
    with pytest.raises(RemoteError) as caught:
        await peer.describe()  # the server is gone
    assert caught.value.status == 404
    for path in ("openapi.json", "/../x", "//x"):
        with pytest.raises(InvalidInput):
            BridgeService("far", url, openapi=path)


NONSENSE: list[Any] = [
    [], "x", 1, {"paths": []}, {"paths": {"/": []}}, {"paths": {"/": {"get": []}}}, {},
    {"paths": {"/": {"get": {"parameters": [1]}}}},
    {"paths": {"/": {"get": {"requestBody": {"content": {"a": 1}}}}}},
]  # fmt: skip


@pytest.mark.parametrize("document", NONSENSE, ids=json.dumps)
def test_what_is_no_openapi_is_no_description(document: Any) -> None:
    answer = described("x", Response(json.dumps(document).encode()), lambda *_: True)
    assert answer.status == 404


def test_deep_nesting_is_refused() -> None:
    for body in (b'{"paths":' * 100_000, b"\xff", b"{}" + b" " * (9 << 20)):
        assert described("x", Response(body), lambda *_: True).status == 404
