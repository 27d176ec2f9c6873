"""Signing keys and their rotation, and API keys."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from authsvc.server.console.api import ApiRefused, quoted
from authsvc.server.console.calls import Call, number, words

__all__ = [
    "api_keys",
    "create_api_key",
    "create_enrolment_key",
    "enrolment_keys",
    "keys",
    "line",
    "revoke_api_key",
    "revoke_enrolment_key",
    "rotate",
]

_API_KEYS = "/v1/admin/api-keys"
_ENROLMENT_KEYS = "/v1/admin/enrolment-keys"
_SCOPES = {
    "users:read": "See users, credentials, grants, connections and servers",
    "users:write": "Change users and grants",
    "credentials:issue": "Issue credentials in anybody's name",
    "credentials:revoke": "Revoke credentials",
    "keys:rotate": "See and rotate signing keys",
    "nats:push": "Push account JWTs, read nats-server's configuration",
    "audit:read": "Read the audit",
    "admin": "Everything, API keys too",
}
_LINES = {
    "people": "Signs everybody's credentials",
    "mail": "Signs the service's users among mailboxes",
    "system": "Signs the service's user that pushes to nats-server",
    "operator": "Signs the accounts; needs a restart of each nats-server",
}
Item = Mapping[str, Any]


async def keys(call: Call) -> Response:
    """The lines of signing keys, and all keys."""
    found = await _all_keys(call)
    lines = [
        {"name": name, "what": what, "keys": _line(found, name)} for name, what in _LINES.items()
    ]
    return call.page(
        "keys.html",
        lines=[it for it in lines if it["keys"]],
        others=[it for it in found if it["purpose"] != "signing"],
    )


async def line(call: Call) -> Response:
    """A rotation, step by step."""
    name = call.path("line")
    if name not in _LINES:
        raise ApiRefused({"status": 404, "title": "Not found", "detail": "There is no such line."})
    found, status = await asyncio.gather(_all_keys(call), call.attempt("/v1/admin/nats/status"))
    mine = _line(found, name)
    active = [it for it in mine if it["state"] == "active"]
    prepared = next((it for it in mine if it["state"] == "prepared"), None)
    former = [it for it in active if not it["signs"]]
    account = [it for it in status.get("accounts", ()) if it["kind"] == name]
    return call.page(
        "rotation.html",
        line=name,
        what=_LINES[name],
        keys=mine,
        signs=next((it for it in mine if it["signs"]), None),
        prepared=prepared,
        former=former,
        propagation=account[0]["propagation"] if account else None,
    )


async def rotate(call: Call) -> Response:
    """One step of a rotation, or all of it."""
    name, step = call.path("line"), call.given("step")
    body: dict[str, Any] = {"account": name, "step": step}
    if step == "retire":
        body |= {"confirm": call.given("confirm") == "yes"}
        if call.given("public_key"):
            body["public_key"] = call.given("public_key")
    answer = await call.api.post("/v1/admin/keys/rotate", body)
    pending = answer["propagation"]["state"] == "pending"
    return call.go(f"/console/keys/{name}", f"key-{step}-pending" if pending else f"key-{step}")


async def api_keys(call: Call) -> Response:
    """Who may administer."""
    found = await call.api.get(_API_KEYS, cursor=call.query("cursor"))
    return call.page("api_keys.html", keys=found, scopes=_SCOPES)


async def create_api_key(call: Call) -> Response:
    """Make an API key, and show it this once."""
    body: dict[str, Any] = {
        "name": call.given("name"),
        "scopes": [it for it in call.given("scope").split(",") if it],
    }
    if call.given("expires"):
        body["expires_at"] = f"{call.given('expires')}T00:00:00Z"
    made = await call.api.post(_API_KEYS, body, once=call.given("once"))
    return call.page("key_made.html", made=made, back="/console/api-keys", kind="API key")


async def revoke_api_key(call: Call) -> Response:
    """Revoke an API key; one's own ends the session."""
    key = call.path("key")
    await call.api.post(f"{_API_KEYS}/{quoted(key)}/revoke")
    return call.go("/console/api-keys", "api-key-revoked")


async def enrolment_keys(call: Call) -> Response:
    """What machines log in with."""
    found = await call.api.get(_ENROLMENT_KEYS, cursor=call.query("cursor"))
    return call.page("enrolment_keys.html", keys=found)


async def create_enrolment_key(call: Call) -> Response:
    """Make an enrolment key, and show it this once."""
    kind = "pattern" if call.given("kind") == "pattern" else "username"
    body: dict[str, Any] = {
        "name": call.given("name"),
        kind: call.given("whom"),
        "tags": words(call.given("tags")),
        "max_uses": number(call.given("max_uses")),
    }
    if call.given("life"):
        body["expires_in"] = number(call.given("life"))
    made = await call.api.post(_ENROLMENT_KEYS, body, once=call.given("once"))
    back = "/console/enrolment-keys"
    return call.page("key_made.html", made=made, back=back, kind="enrolment key")


async def revoke_enrolment_key(call: Call) -> Response:
    """Revoke an enrolment key."""
    await call.api.post(f"{_ENROLMENT_KEYS}/{quoted(call.path('key'))}/revoke")
    return call.go("/console/enrolment-keys", "enrolment-key-revoked")


async def _all_keys(call: Call) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = await call.api.get("/v1/admin/keys", limit=1000, cursor=cursor)
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def _line(found: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """The signing keys of a line, the newest first."""
    mine = [
        it
        for it in found
        if it["purpose"] == "signing"
        and ((it["owner"] == "operator") if name == "operator" else it["account"] == name)
    ]
    return sorted(mine, key=lambda it: -int(it["generation"]))
