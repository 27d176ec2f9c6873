"""Who may call what: every route of the service, whoever adds it.

Admin routes are found by their path and judged by the scope that they state. All others stand
in the table below; one that is missing there fails.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from sqlalchemy import select
from sqlmodel import col
from starlette.routing import BaseRoute, Route

from authsvc.nkey import KeyPair
from authsvc.server.api_keys import SCOPES, digest
from authsvc.server.app import create_app
from authsvc.server.models import ApiKey
from tests.fixtures.authsvc import LiveService, access_token
from tests.server.api.admin.live import user_key

NONE, PROOF, BEARER, DPOP, SESSION = "none", "proof", "bearer", "dpop", "session"
"""Nothing; a proof; an identity token or a NATS user JWT with a proof; a console's session."""

OTHERS = {
    ("GET", "/.well-known/authsvc"): NONE,
    ("GET", "/healthz"): NONE,
    ("GET", "/readyz"): NONE,
    ("GET", "/metrics"): NONE,
    ("GET", "/openapi.json"): NONE,
    ("GET", "/docs"): NONE,
    ("GET", "/jwt/v1/accounts/"): NONE,
    ("GET", "/jwt/v1/accounts/{public_key}"): NONE,
    ("GET", "/jwt/v1/operator"): NONE,
    ("GET", "/device"): NONE,
    ("POST", "/device"): NONE,
    ("GET", "/device/callback"): NONE,
    ("GET", "/device/decide"): NONE,
    ("POST", "/device/decide"): NONE,
    ("POST", "/v1/device/authorize"): PROOF,
    ("POST", "/v1/device/token"): PROOF,
    ("POST", "/v1/credentials"): BEARER,
    ("POST", "/v1/credentials/renew"): DPOP,
    ("GET", "/v1/credentials"): DPOP,
    ("DELETE", "/v1/credentials/{credential_id}"): DPOP,
    ("GET", "/v1/me"): DPOP,
    ("GET", "/v1/me/apps"): DPOP,
    ("PUT", "/v1/me/apps/{app}"): DPOP,
    ("DELETE", "/v1/me/apps/{app}"): DPOP,
    ("GET", "/v1/me/apps/{app}/dead-letters"): DPOP,
    ("POST", "/v1/me/apps/{app}/dead-letters/{letter_id}/requeue"): DPOP,
    ("GET", "/v1/me/mailbox"): DPOP,
    ("PUT", "/v1/me/mailbox"): DPOP,
    ("GET", "/v1/users/{username}/apps"): DPOP,
    ("GET", "/console/static/{name}"): NONE,
    ("GET", "/console/sign-in"): NONE,
    ("POST", "/console/sign-in"): NONE,
    ("GET", "/console/sign-in/oidc"): NONE,
    ("GET", "/console/sign-in/oidc/callback"): NONE,
    ("POST", "/console/sign-out"): SESSION,
    ("GET", "/console"): SESSION,
    ("GET", "/console/"): SESSION,
    ("GET", "/console/online"): SESSION,
    ("GET", "/console/mailboxes"): SESSION,
    ("GET", "/console/servers"): SESSION,
    ("POST", "/console/servers/push"): SESSION,
    ("GET", "/console/users"): SESSION,
    ("POST", "/console/users"): SESSION,
    ("GET", "/console/users/{user}"): SESSION,
    ("POST", "/console/users/{user}/credentials"): SESSION,
    ("POST", "/console/users/{user}/credentials/revoke"): SESSION,
    ("POST", "/console/users/{user}/{what}"): SESSION,
    ("GET", "/console/credentials"): SESSION,
    ("GET", "/console/credentials/{credential}"): SESSION,
    ("POST", "/console/credentials/{credential}/revoke"): SESSION,
    ("GET", "/console/grants"): SESSION,
    ("POST", "/console/grants"): SESSION,
    ("POST", "/console/grants/{grant}/delete"): SESSION,
    ("GET", "/console/explain"): SESSION,
    ("GET", "/console/audit"): SESSION,
    ("GET", "/console/keys"): SESSION,
    ("GET", "/console/keys/{line}"): SESSION,
    ("POST", "/console/keys/{line}/rotate"): SESSION,
    ("GET", "/console/api-keys"): SESSION,
    ("POST", "/console/api-keys"): SESSION,
    ("POST", "/console/api-keys/{key}/revoke"): SESSION,
    ("GET", "/console/enrolment-keys"): SESSION,
    ("POST", "/console/enrolment-keys"): SESSION,
    ("POST", "/console/enrolment-keys/{key}/revoke"): SESSION,
    ("GET", "/console/{rest:path}"): SESSION,
}
ADMIN = "/v1/admin/"
# Who may call what rests on no kind of database.
pytestmark = pytest.mark.parametrize("shared_database_url", ["sqlite"], indirect=True)
METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture
def service(emptied_service: LiveService) -> LiveService:
    """One for the module, emptied for each test."""
    return emptied_service


class Operation(NamedTuple):
    """A method of a path, as the OpenAPI document has it."""

    method: str
    path: str
    description: dict[str, Any]

    @property
    def url(self) -> str:
        """The path with something in each place that names nothing there is."""
        return re.sub(r"\{[^}]+\}", "nothing", self.path)

    @property
    def scope(self) -> str:
        return str(self.description.get("x-scope"))


def operations(document: dict[str, Any]) -> list[Operation]:
    return [
        Operation(method.upper(), path, item[method])
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    ]


def walk(routes: Iterable[BaseRoute]) -> Iterator[tuple[str, str]]:
    """Every method and path that is served, shown in the OpenAPI document or not."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from walk(included.routes)
        elif isinstance(route, Route):
            for method in (route.methods or set()) - {"HEAD"}:
                yield method, route.path
        else:
            yield "ANY", str(getattr(route, "path", route))


class Caller(NamedTuple):
    """Somebody who comes with headers; a user's are made for each request."""

    name: str
    token: str | None = None
    scheme: str = "Bearer"
    key: KeyPair | None = None

    async def call(self, service: LiveService, operation: Operation) -> httpx.Response:
        headers = {}
        if self.token is not None:
            headers["Authorization"] = f"{self.scheme} {self.token}"
        if self.key is not None:
            headers["DPoP"] = service.proof(self.key, operation.method, operation.url, self.token)
        body: dict[str, Any] | None = {} if operation.method in {"POST", "PUT", "PATCH"} else None
        return await service.http.request(
            operation.method, operation.url, headers=headers, json=body, timeout=60
        )


class Callers(NamedTuple):
    """Everybody who might come."""

    anonymous: Caller
    users: list[Caller]
    """A user, and one whose credential was revoked."""
    bad_keys: list[Caller]
    scopes: dict[str, Caller]
    """Whose API key has that scope alone."""


@pytest.fixture
async def callers(service: LiveService) -> Callers:
    alive, dead = user_key(), user_key()
    user = (await service.login("alice@example.com", alive)).json()["jwt"]
    revoked = (await service.login("bob@example.com", dead)).json()
    path = f"/v1/admin/credentials/{revoked['id']}/revoke"
    assert (await service.admin("POST", path)).status_code == 200
    now = int(time.time())
    expired = await service.api_key("admin", expires_at=now - 1)
    gone = await service.api_key("admin")
    async with service.running.database.writing() as session:
        (
            await session.scalars(select(ApiKey).where(col(ApiKey.digest) == digest(gone)))
        ).one().revoked_at = now
    return Callers(
        Caller("anonymous"),
        [
            Caller("user", user, "DPoP", alive),
            Caller("revoked user", revoked["jwt"], "DPoP", dead),
        ],
        [
            Caller("unknown key", "authsvc_" + "x" * 43),
            Caller("expired key", expired),
            Caller("revoked key", gone),
            Caller("a user's JWT as a key", user),
            Caller("an identity token as a key", access_token("alice@example.com")),
        ],
        {wanted: Caller(wanted, await service.api_key(wanted)) for wanted in SCOPES},
    )


async def test_every_route_stands_somewhere(service: LiveService) -> None:
    served = set(walk(create_app(service.running).routes))
    assert ("GET", "/v1/me") in served
    missing = {it for it in served if not it[1].startswith(ADMIN)} - OTHERS.keys()
    assert missing == set(), "say in OTHERS who may call them"
    assert OTHERS.keys() <= served, "OTHERS names what there is not"


async def test_admin_routes_need_their_scope(service: LiveService, callers: Callers) -> None:
    """Default deny: only an API key with the wanted scope, or with admin, gets through."""
    document = (await service.http.get("/openapi.json")).json()
    administrative = [it for it in operations(document) if it.path.startswith(ADMIN)]
    assert administrative
    served = {it for it in walk(create_app(service.running).routes) if it[1].startswith(ADMIN)}
    shown = {(it.method, it.path) for it in administrative}
    assert served == shown, "an admin route is hidden from the OpenAPI document"
    wrong = []
    for operation in administrative:
        if operation.scope not in SCOPES:
            wrong.append(f"{operation.method} {operation.path} states no scope: use needs()")
            continue
        enough = {operation.scope, "admin"}
        tries = [(it, {401}) for it in (callers.anonymous, *callers.users, *callers.bad_keys)]
        tries += [(it, {403}) for name, it in callers.scopes.items() if name not in enough]
        for caller, expected in tries:
            answer = await caller.call(service, operation)
            if answer.status_code not in expected:
                wrong.append(f"{operation.method} {operation.path} {caller.name}: {answer.text}")
            elif answer.status_code == 403 and operation.scope not in answer.json()["detail"]:
                wrong.append(f"{operation.path} does not name {operation.scope}")
        for name in enough:
            answer = await callers.scopes[name].call(service, operation)
            if answer.status_code in {401, 403, 500}:
                wrong.append(f"{operation.method} {operation.path} {name}: {answer.text}")
    assert wrong == []


async def test_other_routes_take_who_they_say(service: LiveService, callers: Callers) -> None:
    user, revoked = callers.users
    admin = callers.scopes["admin"]
    wrong = []
    for (method, path), needed in OTHERS.items():
        operation = Operation(method, path, {})
        answers = {
            caller.name: await caller.call(service, operation)
            for caller in (callers.anonymous, admin, user, revoked)
        }
        found = {name: answer.status_code for name, answer in answers.items()}
        if needed == SESSION:
            places = {answer.headers.get("location") for answer in answers.values()}
            if places != {"/console/sign-in"}:
                wrong.append(f"{method} {path}: {found}")
            continue
        allowed = {name for name, status in found.items() if status not in {401, 403, 409}}
        expected = {
            NONE: {"anonymous", "admin", "user", "revoked user"},
            # Off here, and 404 to everybody; tests/server/api/test_device.py has it on.
            PROOF: {"anonymous", "admin", "user", "revoked user"},
            BEARER: set(),
            DPOP: {"user"},
        }[needed]
        if allowed != expected or 500 in found.values():
            wrong.append(f"{method} {path}: {found}")
    assert wrong == []
