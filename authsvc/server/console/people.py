"""Users and their credentials."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from authsvc.server.console.actors import named
from authsvc.server.console.api import ApiRefused, quoted
from authsvc.server.console.calls import Call, number, words

__all__ = [
    "change_user",
    "create_user",
    "credential",
    "credentials",
    "issue",
    "revoke",
    "revoke_all",
    "user",
    "users",
]

_USERS = "/v1/admin/users"


async def users(call: Call) -> Response:
    """Users, searched and filtered."""
    found = await call.api.get(
        _USERS,
        search=call.query("search"),
        role=call.query("role"),
        state=call.query("state"),
        cursor=call.query("cursor"),
    )
    return call.page("users.html", users=found)


async def create_user(call: Call) -> Response:
    """Make a user."""
    body: dict[str, Any] = {
        "username": call.given("username"),
        "roles": words(call.given("roles")),
    }
    if call.given("kind"):
        body["kind"] = call.given("kind")
    made = await call.api.post(_USERS, body, once=call.given("once"))
    return call.go(f"/console/users/{made['id']}", "user-created")


async def user(call: Call) -> Response:
    """One user: rights, credentials, connections, what waits, what happened."""
    key = call.path("user")
    path = f"{_USERS}/{quoted(key)}"
    found = await call.api.get(path)
    issued, connections, grants, waiting, events = await asyncio.gather(
        call.attempt(f"{path}/credentials", cursor=call.query("cursor"), limit=50),
        call.attempt("/v1/admin/connections", user=found["id"]),
        call.attempt("/v1/admin/grants", user=found["id"]),
        call.attempt("/v1/admin/mailboxes", user=found["id"]),
        call.attempt("/v1/admin/audit", target=found["id"], limit=8),
    )
    return call.page(
        "user.html",
        user=found,
        credentials=issued,
        connections=connections,
        grants=grants,
        mailboxes=waiting,
        audit=await named(call, events),
    )


async def change_user(call: Call) -> Response:
    """Disable, enable, delete, or edit."""
    key, what = call.path("user"), call.path("what")
    path, page = f"{_USERS}/{quoted(key)}", f"/console/users/{key}"
    if what in {"disable", "enable"}:
        answer = await call.api.post(f"{path}/{what}", once=call.given("once"))
        return call.go(page, _told(f"user-{what}d", answer))
    if what == "delete":
        await call.api.delete(path)
        return call.go("/console/users", "user-deleted")
    if what == "edit":
        body = {
            "roles": words(call.given("roles")),
            "max_subscriptions": number(call.given("max_subscriptions")),
            "max_payload": number(call.given("max_payload")),
        }
        return call.go(page, _told("user-edited", await call.api.patch(path, body)))
    raise ApiRefused({"status": 404, "title": "Not found", "detail": "There is nothing here."})


async def issue(call: Call) -> Response:
    """Issue a credential, and show its secret this once."""
    key = call.path("user")
    body: dict[str, Any] = {
        name: call.given(name) for name in ("name", "app", "public_key") if call.given(name)
    }
    if call.given("ttl"):
        body["ttl"] = number(call.given("ttl"))
    path = f"{_USERS}/{quoted(key)}"
    made = await call.api.post(f"{path}/credentials", body, once=call.given("once"))
    found = await call.api.get(path)
    return call.page("issued.html", user=found, made=made)


async def revoke_all(call: Call) -> Response:
    """Revoke all credentials of a user."""
    key = call.path("user")
    path = f"{_USERS}/{quoted(key)}/credentials:revoke"
    answer = await call.api.post(path, {}, once=call.given("once"))
    return call.go(f"/console/users/{key}", _told("all-revoked", answer))


async def credentials(call: Call) -> Response:
    """Everybody's credentials."""
    found = await call.api.get(
        "/v1/admin/credentials",
        user=call.query("user"),
        state=call.query("state"),
        cursor=call.query("cursor"),
    )
    return call.page("credentials.html", credentials=found)


async def credential(call: Call) -> Response:
    """One credential; after it was revoked, how far that has come."""
    found = await call.api.get(f"/v1/admin/credentials/{quoted(call.path('credential'))}")
    connections, status, events = await asyncio.gather(
        call.attempt("/v1/admin/connections", credential=found["id"]),
        call.attempt("/v1/admin/nats/status"),
        call.attempt("/v1/admin/audit", target=found["id"], limit=8),
    )
    people = [it for it in status.get("accounts", ()) if it["kind"] == "people"]
    return call.page(
        "credential.html",
        credential=found,
        connections=connections,
        status=status,
        propagation=people[0]["propagation"] if people else None,
        audit=await named(call, events),
    )


async def revoke(call: Call) -> Response:
    """Revoke a credential."""
    key = call.path("credential")
    path = f"/v1/admin/credentials/{quoted(key)}/revoke"
    answer = await call.api.post(path, once=call.given("once"))
    return call.go(f"/console/credentials/{key}", _told("credential-revoked", answer))


def _told(done: str, answer: Mapping[str, Any]) -> str:
    """What to say: whether every nats-server has the change already."""
    pending = (answer.get("propagation") or {}).get("state") == "pending"
    return f"{done}-pending" if pending else done
