"""Overview, who is online, what waits, and the nats-servers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.responses import Response

from authsvc.server.console.actors import named
from authsvc.server.console.calls import Call

__all__ = ["mailboxes", "online", "overview", "push", "servers"]

_SOON = timedelta(days=14)
Answer = Mapping[str, Any]


async def overview(call: Call) -> Response:
    """What an administrator wants to know first."""
    connections, waiting, status, audit, keys, found = await asyncio.gather(
        call.attempt("/v1/admin/connections", limit=8),
        call.attempt("/v1/admin/mailboxes", limit=100),
        call.attempt("/v1/admin/nats/status"),
        call.attempt("/v1/admin/audit", limit=8),
        call.attempt("/v1/admin/api-keys", limit=100),
        call.attempt("/.well-known/authsvc"),
    )
    return call.page(
        "overview.html",
        connections=connections,
        mailboxes=waiting,
        waiting=sum(_depth(it) for it in waiting.get("items", ())),
        letters=sum(it["dead_letters"] for it in waiting.get("items", ())),
        status=status,
        audit=await named(call, audit),
        warnings=[
            *_about_servers(status),
            *_about_mail(waiting),
            *_about_keys(keys),
            *_about_login(found),
        ],
    )


async def online(call: Call) -> Response:
    """Everybody who is connected."""
    found = await call.api.get(
        "/v1/admin/connections", cursor=call.query("cursor"), user=call.query("user")
    )
    return call.page("online.html", connections=found)


async def mailboxes(call: Call) -> Response:
    """What waits, for whom."""
    found = await call.api.get(
        "/v1/admin/mailboxes", cursor=call.query("cursor"), user=call.query("user")
    )
    return call.page("mailboxes.html", mailboxes=found)


async def servers(call: Call) -> Response:
    """The nats-servers, and whether they hold the newest account JWTs."""
    status = await call.api.get("/v1/admin/nats/status")
    return call.page("servers.html", status=status, warnings=[*_about_servers(status)])


async def push(call: Call) -> Response:
    """Push every account JWT to every server."""
    answer = await call.api.post("/v1/admin/nats/push", {})
    return call.go("/console/servers", f"push-{answer['state']}")


def _depth(item: Answer) -> int:
    """Requests that wait for somebody's apps."""
    return int(item["requests"]["messages"]) if item["requests"] else 0


def _about_servers(status: Answer) -> Iterator[str]:
    if "refused" in status:
        return
    if not status["connected"]:
        yield f"nats-server can't be reached: {status['error']}. Changes wait until it can."
    for server in status["servers"]:
        if not server["answers"] and status["connected"]:
            yield f"The nats-server {server['name']} does not answer."
    for account in status["accounts"]:
        if account["propagation"]["state"] != "applied" and status["connected"]:
            yield f"Not every nats-server holds the newest JWT of the account {account['name']}."
        for warning in account["warnings"]:
            yield f"Account {account['name']}: {warning}"
    for item in status["foreign"]:
        who, name = ", ".join(item["servers"]), item["name"] or item["account"]
        yield f"The nats-servers {who} hold an account that is not ours: {name}."


def _about_mail(found: Answer) -> Iterator[str]:
    for item in found.get("items", ()):
        if item["state"] != "applied":
            yield f"The mailbox of {item['username']} is not yet as it shall be."
        if item["dead_letters"]:
            count = item["dead_letters"]
            yield f"{item['username']} has {count} dead letters: requests that no app handled."


def _about_keys(found: Answer) -> Iterator[str]:
    now = datetime.now(UTC)
    for key in found.get("items", ()):
        if key["state"] == "active" and key["expires_at"]:
            left = datetime.fromisoformat(key["expires_at"]) - now
            if left < _SOON:
                yield f"The API key {key['name']} expires in {left.days} days."


def _about_login(found: Answer) -> Iterator[str]:
    names = [it.get("name") for it in found.get("login_methods", ())]
    if "dev" in names:
        yield "Dev login is on: anybody on this machine can be anybody."
    if "refused" not in found and not names:
        yield "No login method is set, so nobody can log in: see docs/running.md."
