"""``/device``: the page where a person lets a terminal in, after signing in at the OIDC provider.

code  ->  what asks, and a link to the provider  ->  the provider  ->  callback  ->  decide

Between the steps the browser keeps one secret, in a cookie; state, nonce, PKCE's verifier and the
token of the last form are derived from it, and the row keeps its digest. So the steps may be served
by different replicas, and whoever comes without that cookie decides nothing.

Sources: RFC 8628 sections 3.3 and 5; RFC 9700 section 4.7.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import RedirectResponse, Response

from authsvc.errors import (
    AuthenticationFailed,
    AuthsvcError,
    Forbidden,
    InvalidName,
    InvalidToken,
    NotFound,
    TooManyRequests,
)
from authsvc.server import audit, devices
from authsvc.server.api.deps import address
from authsvc.server.api.device import offered
from authsvc.server.api.forms import read_form
from authsvc.server.api.schemas import rfc3339
from authsvc.server.attempts import Attempt
from authsvc.server.login import OidcLogin, SignIn, derived, device_digest, sign_in_from
from authsvc.server.models import DeviceRequest
from authsvc.server.running import Running

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

_FOLDER = Path(__file__).parent / "pages"
_STYLE = (_FOLDER / "device.css").read_text(encoding="utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_pages = Environment(
    loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "img-src data:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}

_AGAIN = "Nothing waits to be decided in this browser. Enter the code once more."
_Offered = Annotated[Running, Depends(offered)]


def _page(service: Running, step: str, title: str, status: int = 200, **values: Any) -> Response:
    text = _pages.get_template("device.html").render(
        step=step,
        title=title,
        style=Markup(_STYLE),  # noqa: S704 - a file of ours
        base=urlsplit(service.public_url).path.rstrip("/"),
        problem=values.pop("problem", ""),
        **values,
    )
    return Response(text, status, _HEADERS, media_type="text/html")


def _code_page(service: Running, user_code: str = "", problem: str = "") -> Response:
    status = 400 if problem else 200
    return _page(
        service, "code", "Let a terminal in", status, user_code=user_code[:20], problem=problem
    )


def _too_many(service: Running, error: TooManyRequests) -> Response:
    answer = _page(
        service, "code", "Let a terminal in", 429, user_code="", problem=f"Sorry: {error}."
    )
    answer.headers["Retry-After"] = str(error.retry_after)
    return answer


async def _find(
    session: AsyncSession, user_code: str, now: float, attempt: Attempt
) -> DeviceRequest:
    """The request of a code; a wrong one counts as a failed try to sign in."""
    try:
        return await devices.find_request(session, user_code, now, lock=True)
    except NotFound:
        await session.rollback()  # counting is a transaction of its own, and SQLite has one at once
        await attempt.failed()
        raise


def _about(found: DeviceRequest) -> dict[str, Any]:
    return {"found": found, "asked_at": rfc3339(found.created_at)}


class _Cookie:
    """Where the browser keeps its secret."""

    def __init__(self, service: Running) -> None:
        self._secure = service.public_url.startswith("https://")
        # The prefix keeps other hosts of the same domain from planting one.
        self._name = "__Host-authsvc-device" if self._secure else "authsvc-device"

    def read(self, request: Request) -> str:
        found = request.cookies.get(self._name, "")
        if not found:
            raise InvalidToken("device: no cookie")
        return found

    def write(self, response: Response, secret: str) -> None:
        response.set_cookie(
            self._name,
            secret,
            max_age=devices.LIFE_SECONDS,
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="lax",  # the provider sends the browser back with a GET
        )

    def clear(self, response: Response) -> None:
        response.delete_cookie(self._name, path="/", secure=self._secure, httponly=True)


def _same_origin(request: Request, service: Running) -> None:
    """Refuse forms that other sites send."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    known = {f"{urlsplit(each).scheme}://{urlsplit(each).netloc}" for each in service.origins}
    if site not in {None, "same-origin"} or origin not in {None, *known}:
        raise Forbidden("this form was sent by another site")


def _sign_in(service: Running) -> SignIn | None:
    return sign_in_from(service.settings, service.methods)


def _redirect_uri(service: Running) -> str:
    return f"{service.public_url}/device/callback"


@router.get("/device")
async def enter(service: _Offered, user_code: str = "") -> Response:
    """Where a person enters the code."""
    return _code_page(service, user_code)


@router.post("/device")
async def look(request: Request, service: _Offered) -> Response:
    """What asks, and where to sign in for deciding."""
    _same_origin(request, service)
    user_code = (await read_form(request)).get("user_code", "")
    secret = secrets.token_urlsafe(32)
    sign_in = _sign_in(service)
    now = time.time()
    try:
        attempt = await service.attempts.begin(
            address(request), lambda: "(user code)", request.state.request_id, now
        )
        where = await sign_in.address(secret, _redirect_uri(service)) if sign_in else ""
        async with service.database.writing() as session:
            found = await _find(session, user_code, now, attempt)
            if found.state != "pending":
                return _code_page(service, problem="That was decided already.")
            if sign_in is not None:
                found.browser_digest, found.signed_in = device_digest(secret), None
    except TooManyRequests as error:
        return _too_many(service, error)
    except AuthsvcError as error:
        return _code_page(service, user_code, problem=f"Sorry: {error}.")
    code = devices.spelt(user_code)
    if sign_in is None:
        return _page(
            service,
            "administrator",
            "Let a terminal in",
            user_code=f"{code[:4]}-{code[4:]}",
            **_about(found),
        )
    method = service.methods["oidc"]
    issuer = method.provider.issuer if isinstance(method, OidcLogin) else ""
    answer = _page(
        service, "sign-in", "Let a terminal in", address=where, issuer=issuer, **_about(found)
    )
    _Cookie(service).write(answer, secret)
    return answer


@router.get("/device/callback")
async def callback(request: Request, service: _Offered) -> Response:
    """The provider sends the browser here."""
    sign_in = _sign_in(service)
    if sign_in is None:
        raise InvalidToken("device: nobody signs in here")
    try:
        secret = _Cookie(service).read(request)
        identity = await sign_in.identify(
            secret, dict(request.query_params), _redirect_uri(service), time.time()
        )
    except AuthenticationFailed:
        return _code_page(service, problem="You were not signed in. Enter the code once more.")
    except InvalidName as error:
        return _code_page(service, problem=f"You can't sign in here: {error}.")
    try:
        async with service.database.writing() as session:
            found = await devices.find_browser(session, secret, time.time())
            found.signed_in = identity.username
    except NotFound:
        return _code_page(service, problem=_AGAIN)
    # Without the code in its address.
    return RedirectResponse(f"{service.public_url}/device/decide", 303, _HEADERS)


@router.get("/device/decide")
async def ask(request: Request, service: _Offered) -> Response:
    """The last question."""
    try:
        secret = _Cookie(service).read(request)
        async with service.database.writing() as session:
            found = await devices.find_browser(session, secret, time.time())
    except (AuthenticationFailed, NotFound):
        return _code_page(service, problem=_AGAIN)
    if found.signed_in is None:
        return _code_page(service, problem=_AGAIN)
    return _page(
        service,
        "decide",
        "Let this terminal in?",
        username=found.signed_in,
        token=derived(secret, "decide"),
        **_about(found),
    )


@router.post("/device/decide")
async def decide(request: Request, service: _Offered) -> Response:
    """Let the terminal in as whoever is signed in, or refuse it."""
    _same_origin(request, service)
    form = await read_form(request)
    approved = form.get("choice") == "approve"
    try:
        secret = _Cookie(service).read(request)
        token = derived(secret, "decide")
        if not hmac.compare_digest(form.get("token", "").encode(), token.encode()):
            raise InvalidToken("device: the form is not this browser's")
        await _decide(request, service, secret, approved=approved)
    except (AuthenticationFailed, NotFound):
        return _code_page(service, problem=_AGAIN)
    done = "You can go back to it." if approved else "Nobody sits there as you."
    title = "The terminal is let in" if approved else "The terminal was refused"
    answer = _page(service, "done", title, done=done)
    _Cookie(service).clear(answer)
    return answer


async def _decide(request: Request, service: Running, secret: str, *, approved: bool) -> None:
    now = time.time()
    async with service.database.writing() as session:
        found = await devices.find_browser(session, secret, now)
        if found.signed_in is None:
            raise InvalidToken("device: nobody has signed in")
        actor = await devices.actor_named(session, found.signed_in)
        context = audit.Context(actor, request.state.request_id, address(request))
        username = found.signed_in if approved else None
        await devices.decide(session, found, username=username, context=context, now=now)
