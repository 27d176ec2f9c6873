"""Signing in by a link or an API key, and signing out.

GET changes nothing, so that whoever previews a link doesn't spend it: its secret stands in the
fragment, which browsers send to nobody, and our script puts it into the form.
"""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import structlog
from starlette.requests import Request
from starlette.responses import Response

from authsvc.errors import InvalidToken, TooManyRequests, Unavailable
from authsvc.server import console_sessions
from authsvc.server.console.api import ApiRefused
from authsvc.server.console.calls import (
    Call,
    address,
    cookie_name,
    from_elsewhere,
    is_https,
    json_answer,
    read_form,
    see_other,
    theme,
)
from authsvc.server.console.rendering import render
from authsvc.server.console_sessions import is_link
from authsvc.server.running import Running

__all__ = ["sign_in", "sign_in_form", "sign_in_page", "sign_out", "try_later", "with_session"]

_HOME = "/console"
_LINK_OVER = (
    "This link was used already, or is older than 30 minutes. "
    "The command authsvc console prints a new one."
)
_NO_KEY = "This is no API key of this service, or one that was revoked or has expired."
log = structlog.get_logger("authsvc")


async def sign_in_page(request: Request) -> Response:
    """The form; the same for everybody."""
    return sign_in_form(request)


async def sign_in(request: Request) -> Response:
    """Take a link's secret or an API key, and begin a session."""
    running: Running = request.app.state.running
    if from_elsewhere(request, running):
        return sign_in_form(request, 403, "This form was sent from another site; sign in here.")
    try:
        secret = (await read_form(request)).get("secret", "").strip().rpartition("#")[2]
        if not secret:
            return sign_in_form(request, 422, "Enter an API key, or a code from a sign-in link.")
        text = await _begin(request, running, secret)
    except ApiRefused as error:
        return sign_in_form(request, 422, _sentence(str(error)))
    except InvalidToken as error:
        log.info("console sign-in refused", reason=error.reason)
        return sign_in_form(request, 401, _LINK_OVER if is_link(secret) else _NO_KEY)
    except (TooManyRequests, Unavailable) as error:
        return try_later(request, error)
    answer = json_answer({"location": _HOME}) if _wants_json(request) else see_other(_HOME)
    return with_session(running, answer, text)


async def _begin(request: Request, running: Running, secret: str) -> str:
    """A session's text; a wrong secret counts as a failed try to sign in."""
    host, now = address(request), time.time()
    request_id = request.state.request_id
    attempt = await running.attempts.begin(host, lambda: "(console)", request_id, now)
    try:
        async with running.database.writing() as session:
            return await console_sessions.sign_in(
                session, secret, request_id=request_id, address=host, now=now
            )
    except InvalidToken:
        await attempt.failed()
        raise


def try_later(request: Request, error: TooManyRequests | Unavailable) -> Response:
    """The form again, where a limit is reached or something can't be reached.

    Args:
        request: The request.
        error: Which.
    """
    if isinstance(error, Unavailable):
        return sign_in_form(request, 503, _sentence(str(error)))
    answer = sign_in_form(request, 429, _sentence(str(error)))
    answer.headers["Retry-After"] = str(error.retry_after)
    return answer


def with_session(running: Running, answer: Response, text: str) -> Response:
    """The answer with the session's cookie.

    Args:
        running: The service.
        answer: The answer.
        text: What stands for the session.
    """
    answer.set_cookie(
        cookie_name(running),
        text,
        max_age=console_sessions.SESSION_SECONDS,
        path="/",
        secure=is_https(running),
        httponly=True,
        samesite="strict",
    )
    return answer


async def sign_out(call: Call) -> Response:
    """End the session, everywhere."""
    async with call.running.database.writing() as session:
        await console_sessions.sign_out(
            session,
            call.who,
            request_id=call.request.state.request_id,
            address=address(call.request),
            now=time.time(),
        )
    answer = see_other("/console/sign-in?done=signed-out")
    answer.delete_cookie(
        cookie_name(call.running),
        path="/",
        secure=is_https(call.running),
        httponly=True,
        samesite="strict",
    )
    # Nothing of what was looked at stays in the browser.
    answer.headers["Clear-Site-Data"] = '"cache"'
    return answer


def sign_in_form(request: Request, status: int = 200, problem: str = "") -> Response:
    """The page with the form.

    Args:
        request: The request.
        status: Of the response.
        problem: Why somebody is not signed in, for people.
    """
    if _wants_json(request):
        return json_answer({"problem": {"title": "Not signed in", "detail": problem}})
    running: Running = request.app.state.running
    return render(
        "sign_in.html",
        status,
        theme=theme(request),
        problem=problem,
        done=request.query_params.get("done", ""),
        host=urlsplit(running.public_url).netloc,
        provider=_provider_host(running),
    )


def _provider_host(running: Running) -> str:
    """Where administrators may sign in instead; empty where they may not."""
    settings = running.settings
    return urlsplit(settings.oidc_issuer or "").netloc if settings.console_admins else ""


def _wants_json(request: Request) -> bool:
    return request.headers.get("x-console") == "form"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?")) else ".")
