"""Which handler answers what. The tests list these routes beside all others."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from authsvc.server.console import keys, overview, people, rights, signing_in
from authsvc.server.console.api import ApiRefused
from authsvc.server.console.calls import Call, Handler, signed_in
from authsvc.server.console.rendering import PAGE_HEADERS, asset

__all__ = ["ROUTES"]


async def _static(request: Request) -> Response:
    """A style sheet, a script, the icon; its digest in the URL lets browsers keep it."""
    found = asset(request.path_params["name"])
    if found is None:
        return Response("", 404, dict(PAGE_HEADERS), media_type="text/plain")
    content, kind, digest = found
    fresh = request.query_params.get("v") == digest
    headers = {"Cache-Control": "public, max-age=31536000, immutable" if fresh else "no-cache"}
    return Response(content, headers={**PAGE_HEADERS, **headers}, media_type=kind)


async def _nothing(_call: Call) -> Response:
    raise ApiRefused({"status": 404, "title": "Not found", "detail": "There is no such page."})


def _get(path: str, handler: Handler) -> Route:
    return Route(f"/console{path}", signed_in(handler), methods=["GET"])


def _post(path: str, handler: Handler) -> Route:
    return Route(f"/console{path}", signed_in(handler), methods=["POST"])


ROUTES = (
    Route("/console/static/{name}", _static, methods=["GET"]),
    Route("/console/sign-in", signing_in.sign_in_page, methods=["GET"]),
    Route("/console/sign-in", signing_in.sign_in, methods=["POST"]),
    _post("/sign-out", signing_in.sign_out),
    _get("", overview.overview),
    _get("/", overview.overview),
    _get("/online", overview.online),
    _get("/mailboxes", overview.mailboxes),
    _get("/servers", overview.servers),
    _post("/servers/push", overview.push),
    _get("/users", people.users),
    _post("/users", people.create_user),
    _get("/users/{user}", people.user),
    _post("/users/{user}/credentials", people.issue),
    _post("/users/{user}/credentials/revoke", people.revoke_all),
    _post("/users/{user}/{what}", people.change_user),
    _get("/credentials", people.credentials),
    _get("/credentials/{credential}", people.credential),
    _post("/credentials/{credential}/revoke", people.revoke),
    _get("/grants", rights.grants),
    _post("/grants", rights.create_grant),
    _post("/grants/{grant}/delete", rights.delete_grant),
    _get("/explain", rights.explain),
    _get("/audit", rights.audit),
    _get("/keys", keys.keys),
    _get("/keys/{line}", keys.line),
    _post("/keys/{line}/rotate", keys.rotate),
    _get("/api-keys", keys.api_keys),
    _post("/api-keys", keys.create_api_key),
    _post("/api-keys/{key}/revoke", keys.revoke_api_key),
    _get("/enrolment-keys", keys.enrolment_keys),
    _post("/enrolment-keys", keys.create_enrolment_key),
    _post("/enrolment-keys/{key}/revoke", keys.revoke_enrolment_key),
    _get("/{rest:path}", _nothing),
)
