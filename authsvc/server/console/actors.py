"""Who did what, by name: the audit holds ids, and names change."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from authsvc.server.console.api import quoted
from authsvc.server.console.calls import Call

__all__ = ["named"]


async def named(call: Call, events: Mapping[str, Any]) -> dict[str, Any]:
    """The same events, each actor with a ``name``.

    An actor that is gone, or that the session may not read, is named by the end of its id.

    Args:
        call: The request whose rights count.
        events: What ``/v1/admin/audit`` answered, or a refusal, which stays one.
    """
    found = events.get("items", ())
    actors = {(it["actor"]["kind"], it["actor"]["id"]) for it in found}
    users = sorted(key for kind, key in actors if kind == "user")
    asked = [call.attempt(f"/v1/admin/users/{quoted(key)}") for key in users]
    if any(kind == "api_key" for kind, _ in actors):
        asked.append(call.attempt("/v1/admin/api-keys", limit=1000))
    names: dict[str, str] = {}
    for answer in await asyncio.gather(*asked):
        for it in answer.get("items", (answer,)):
            if "id" in it:
                names[it["id"]] = it.get("username") or it["name"]
    return {**events, "items": [_with_name(it, names) for it in found]} if found else {**events}


def _with_name(event: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    kind, key = event["actor"]["kind"], event["actor"]["id"]
    # A service's id is what it is called.
    name = names.get(key) or (key if kind == "service" else key[-6:])
    return {**event, "actor": {**event["actor"], "name": name}}
