"""One request to the console: who is signed in, the form that came, the page that goes back.

    async def users(call: Call) -> Response:
        found = await call.api.get("/v1/admin/users", search=call.query("search"))
        return call.page("users.html", users=found["items"])

A handler that changes something is reached only by a form of the session's own: with the session's
token, and from a page of this origin.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from authsvc.errors import Unavailable
from authsvc.server.console.api import AdminApi, ApiRefused
from authsvc.server.console.rendering import PAGE_HEADERS, render
from authsvc.server.console_sessions import (
    SignedIn,
    csrf_token,
    find_session,
    may_still,
    note_seen,
    was_seen_lately,
)
from authsvc.server.running import Running

__all__ = [
    "Call",
    "Handler",
    "address",
    "cookie_name",
    "from_elsewhere",
    "is_https",
    "json_answer",
    "number",
    "read_form",
    "see_other",
    "signed_in",
    "theme",
    "words",
]

SIGN_IN = "/console/sign-in"
_BY_SCRIPT = "x-console"
"""Sent by our own script: ``poll`` while nobody does anything, ``form`` for a form."""
_CSRF = "csrf"
_FORGED = {
    "status": 403,
    "title": "This form is not from here",
    "detail": "The request came without the token of your session, or from another site. Nothing "
    "was changed. Load the page again and repeat what you did.",
}
_MOST_FIELDS = 200


@dataclass(frozen=True, slots=True)
class Call:
    """A request by somebody who is signed in.

    Args:
        request: The request.
        running: The service.
        who: The session and its API key.
        api: The admin API with the session's rights.
        csrf: What this session's forms must bring.
        form: The form that was sent, empty for GET.
    """

    request: Request
    running: Running
    who: SignedIn
    api: AdminApi
    csrf: str
    form: Mapping[str, str] = field(default_factory=dict)

    def query(self, name: str) -> str:
        """A parameter of the URL; empty if it is not there."""
        return str(self.request.query_params.get(name, "")).strip()

    def given(self, name: str) -> str:
        """A field of the form, without spaces around it; empty if it is not there."""
        return self.form.get(name, "").strip()

    def path(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])

    def page(self, template: str, answered: int = 200, **values: Any) -> Response:
        """A page with the frame around it; see ``render``."""
        return render(
            template,
            answered,
            path=self.request.scope["path"],
            params=dict(self.request.query_params),
            key=self.who.key,
            csrf=self.csrf,
            once=secrets.token_hex(16),
            theme=theme(self.request),
            done=self.query("done"),
            request_id=self.request.state.request_id,
            **values,
        )

    async def attempt(self, path: str, **params: object) -> dict[str, Any]:
        """GET what is one part of a page only: where it is refused, ``{"refused": why}``."""
        try:
            return await self.api.get(path, **params)
        except ApiRefused as error:
            return {"refused": str(error)}

    def go(self, path: str, done: str = "") -> Response:
        """After a form: on to a page, which says what was done."""
        path = f"{path}{'&' if '?' in path else '?'}done={done}" if done else path
        if _by_script(self.request) == "form":
            return json_answer({"location": path})
        return see_other(path)


Handler = Callable[[Call], Awaitable[Response]]


def signed_in(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint that lets those who are signed in reach the handler, and nobody else."""

    async def endpoint(request: Request) -> Response:
        running: Running = request.app.state.running
        try:
            call = await _identify(request, running)
        except Unavailable as error:
            return render("broken.html", 503, theme=theme(request), why=str(error))
        if call is None:
            return _away(request)
        try:
            if request.method == "POST":
                call = replace(call, form=await read_form(request))
                _check_own(call)
            return await handler(call)
        except ApiRefused as error:
            if error.status == 401:  # noqa: PLR2004 - the API key has just been revoked
                return _away(request)
            return _refused(call, error)

    return endpoint


def _check_own(call: Call) -> None:
    """Refuse a form that is not from a page of this session."""
    given = call.form.get(_CSRF, "").encode()
    if from_elsewhere(call.request, call.running) or not secrets.compare_digest(
        given, call.csrf.encode()
    ):
        raise ApiRefused(_FORGED)


async def _identify(request: Request, running: Running) -> Call | None:
    secret = request.cookies.get(cookie_name(running))
    if not secret:
        return None
    now = time.time()
    async with running.database.reading() as session:
        who = await find_session(session, secret, now)
    if who is None or not may_still(who.key, running.settings.console_admins):
        return None
    # A page that refreshes itself shows nobody's presence.
    if _by_script(request) != "poll" and not was_seen_lately(who.session, now):
        async with running.database.writing() as session:
            await note_seen(session, who.session, now)
    return Call(request, running, who, AdminApi(request, who.key.id), csrf_token(secret))


def cookie_name(running: Running) -> str:
    """Under https the name makes browsers refuse one that another host or plain HTTP set."""
    return "__Host-authsvc-console" if is_https(running) else "authsvc-console"


def address(request: Request) -> str:
    """Where the request came from, for the audit and for limits."""
    return request.client.host if request.client else ""


def is_https(running: Running) -> bool:
    """Whether browsers reach the service by https."""
    return running.public_url.startswith("https:")


def from_elsewhere(request: Request, running: Running) -> bool:
    """Whether a browser says that another site sent this.

    Browsers send Sec-Fetch-Site where the connection is one they trust; on plain HTTP elsewhere
    Origin is all there is, and must be one of ours or the host that was asked.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site != "same-origin"
    origin = request.headers.get("origin")
    if origin is None:
        return False  # no browser: the session's token decides
    # Compared as a text: an origin that is no URL is nobody's.
    asked = request.headers.get("host", "")
    return origin not in {f"http://{asked}", f"https://{asked}", *running.origins}


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form; of one that comes several times, its values with commas between.

    Raises:
        ApiRefused: It is no form.
    """
    try:
        text = (await request.body()).decode()
        pairs = parse_qsl(
            text, keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict"
        )
    except ValueError:
        raise ApiRefused(
            {
                "status": 422,
                "title": "Not understood",
                "detail": "This is no form of the console's.",
            }
        ) from None
    found: dict[str, str] = {}
    for name, value in pairs:
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


def words(text: str) -> list[str]:
    """What stands between commas."""
    return [word for part in text.split(",") if (word := part.strip())]


def number(text: str) -> int | str | None:
    """The number; what is none is for the API to refuse."""
    if not text:
        return None
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else text  # noqa: PLR2004


def theme(request: Request) -> str:
    """``light`` or ``dark`` where somebody chose, else empty: the system decides."""
    chosen = request.cookies.get("authsvc-theme", "")
    return chosen if chosen in {"light", "dark"} else ""


def _by_script(request: Request) -> str:
    return str(request.headers.get(_BY_SCRIPT, ""))


def json_answer(answer: Mapping[str, Any], status: int = 200) -> Response:
    """What our own script reads."""
    return Response(orjson.dumps(answer), status, dict(PAGE_HEADERS), media_type="application/json")


def see_other(path: str) -> Response:
    """On to a page, whatever the method was."""
    return RedirectResponse(path, 303, dict(PAGE_HEADERS))


def _away(request: Request) -> Response:
    """To the sign-in page: nobody is signed in, or not any more."""
    if _by_script(request):
        return json_answer({"location": SIGN_IN}, 401)
    return see_other(SIGN_IN)


def _refused(call: Call, error: ApiRefused) -> Response:
    problem = error.problem
    fields = [
        f"{str(item.get('location', '')).removeprefix('body.')}: {item.get('message', '')}"
        for item in problem.get("errors") or ()
        if isinstance(item, dict)
    ]
    told = {
        "title": problem.get("title") or "Refused",
        "detail": problem.get("detail") or "",
        "fields": fields,
        "request_id": call.request.state.request_id,
    }
    if _by_script(call.request) == "form":
        # 200, because browsers report anything else in their consoles as an error of the page's.
        return json_answer({"problem": told})
    return call.page("refused.html", error.status, problem=told)
