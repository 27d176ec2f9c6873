"""Grants, who may what, and the audit."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from authsvc.server.console.actors import named
from authsvc.server.console.api import ApiRefused, quoted
from authsvc.server.console.calls import Call

__all__ = ["audit", "create_grant", "delete_grant", "explain", "grants"]

_GRANTS = "/v1/admin/grants"


async def grants(call: Call) -> Response:
    """What users may beyond everybody's own list."""
    found = await call.api.get(
        _GRANTS,
        user=call.query("user"),
        role=call.query("role"),
        cursor=call.query("cursor"),
    )
    return call.page("grants.html", grants=found)


async def create_grant(call: Call) -> Response:
    """Make a grant."""
    who = call.given("whom")
    body: dict[str, Any] = {
        "role" if call.given("kind") == "role" else "username": who,
        "publish": call.given("publish").split(),
        "subscribe": call.given("subscribe").split(),
        "note": call.given("note"),
    }
    if call.given("dangerous"):
        body["dangerous"] = True
    await call.api.post(_GRANTS, body, once=call.given("once"))
    return call.go("/console/grants", "grant-created")


async def delete_grant(call: Call) -> Response:
    """Take a grant away."""
    await call.api.delete(f"{_GRANTS}/{quoted(call.path('grant'))}")
    return call.go("/console/grants", "grant-deleted")


async def explain(call: Call) -> Response:
    """Whether somebody may publish or subscribe, and by which rule."""
    asked = {
        "username": call.query("username"),
        "action": call.query("action") or "publish",
        "subject": call.query("subject"),
    }
    answer: dict[str, Any] | None = None
    problem = ""
    if asked["username"] and asked["subject"]:
        body = {**asked, "app": call.query("app")} if call.query("app") else asked
        try:
            answer = await call.api.post("/v1/admin/explain", body)
        except ApiRefused as error:
            problem = str(error)
    return call.page("explain.html", asked=asked, answer=answer, problem=problem)


async def audit(call: Call) -> Response:
    """What was done, by whom; filtered."""
    filters = {name: call.query(name) for name in ("action", "actor", "target", "request_id")} | {
        name: _moment(call.query(name)) for name in ("since", "until")
    }
    found = await call.api.get("/v1/admin/audit", **filters, cursor=call.query("cursor"), limit=50)
    return call.page("audit.html", audit=await named(call, found))


def _moment(text: str) -> str:
    """What a datetime field holds, as UTC; anything else is for the API to refuse."""
    if not text or text.endswith("Z") or "+" in text:
        return text
    return f"{text}:00Z" if text.count(":") == 1 else f"{text}Z"
