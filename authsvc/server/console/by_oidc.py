"""Signing in to the console at the OIDC provider, for those whom ``CONSOLE_ADMINS`` names.

The browser leaves with a secret in a cookie and comes back with a code; see ``login.sign_in``.
That cookie is Lax, because browsers send no Strict one with a navigation that another site began;
for the same reason the last step is a page that goes on by itself, and no redirect.
"""

from __future__ import annotations

import secrets
import time

import structlog
from starlette.requests import Request
from starlette.responses import Response

from authsvc.errors import AuthsvcError, InvalidName, InvalidToken, TooManyRequests, Unavailable
from authsvc.server import console_sessions
from authsvc.server.console.calls import address, cookie_name, is_https, see_other, theme
from authsvc.server.console.rendering import render
from authsvc.server.console.signing_in import sign_in_form, try_later, with_session
from authsvc.server.login import SignIn, sign_in_from
from authsvc.server.running import Running

__all__ = ["came_back", "leave"]

_SECONDS = 600
_NOBODY = "Nobody can sign in here by OIDC: set CONSOLE_ADMINS and the provider."
_NOT_NAMED = "The provider knows you, but you are none of this service's administrators."
_FAILED = "The provider's answer does not fit this browser's sign-in, or is too old. Try again."
_AWAY = "The provider can't be reached now. Try again in a moment."
log = structlog.get_logger("authsvc")


async def leave(request: Request) -> Response:
    """Send the browser to the provider."""
    running: Running = request.app.state.running
    provider = _provider(running)
    if provider is None:
        return sign_in_form(request, 404, _NOBODY)
    secret = secrets.token_urlsafe(32)
    try:
        answer = see_other(await provider.address(secret, _redirect_uri(running)))
    except Unavailable:
        return sign_in_form(request, 503, _AWAY)
    answer.set_cookie(
        _cookie(running),
        secret,
        max_age=_SECONDS,
        path="/",
        secure=is_https(running),
        httponly=True,
        samesite="lax",
    )
    return answer


async def came_back(request: Request) -> Response:
    """Take the provider's answer, and begin a session if it is an administrator's."""
    running: Running = request.app.state.running
    provider, secret = _provider(running), request.cookies.get(_cookie(running))
    if provider is None:
        return sign_in_form(request, 404, _NOBODY)
    if not secret:
        return sign_in_form(request, 401, _FAILED)
    try:
        await running.attempts.begin(
            address(request),
            lambda: "(console)",
            request.state.request_id,
            time.time(),
        )
        identity = await provider.identify(
            secret, dict(request.query_params), _redirect_uri(running), time.time()
        )
        if identity.username not in running.settings.console_admins:
            log.info("console sign-in refused", reason="not in CONSOLE_ADMINS")
            return sign_in_form(request, 403, _NOT_NAMED)
        async with running.database.writing() as session:
            text = await console_sessions.sign_in_as(
                session,
                identity.username,
                request_id=request.state.request_id,
                address=address(request),
                now=time.time(),
            )
    except (InvalidToken, InvalidName, TooManyRequests, Unavailable) as error:
        return _refused(request, error)
    answer = with_session(running, render("signed_in.html", theme=theme(request)), text)
    answer.delete_cookie(_cookie(running), path="/", secure=is_https(running), httponly=True)
    return answer


def _refused(request: Request, error: AuthsvcError) -> Response:
    if isinstance(error, TooManyRequests):
        return try_later(request, error)
    if isinstance(error, Unavailable):
        return sign_in_form(request, 503, _AWAY)
    log.info("console sign-in refused", reason=getattr(error, "reason", str(error)))
    return sign_in_form(request, 401, _FAILED)


def _provider(running: Running) -> SignIn | None:
    """Where administrators sign in; None where nobody is one."""
    settings = running.settings
    return sign_in_from(settings, running.methods) if settings.console_admins else None


def _redirect_uri(running: Running) -> str:
    return f"{running.public_url.rstrip('/')}/console/sign-in/oidc/callback"


def _cookie(running: Running) -> str:
    return f"{cookie_name(running)}-oidc"
