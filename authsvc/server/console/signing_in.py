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

from authsvc.errors import InvalidToken, Unavailable
from authsvc.server import console_sessions
from authsvc.server.console.api import ApiRefused
from authsvc.server.console.calls import (
    Call,
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

__all__ = ["sign_in", "sign_in_page", "sign_out"]

_HOME = "/console"
_LINK_OVER = (
    "This link was used already, or is older than 30 minutes. "
    "The command authsvc console prints a new one."
)
_NO_KEY = "This is no API key of this service, or one that was revoked or has expired."
log = structlog.get_logger("authsvc")


async def sign_in_page(request: Request) -> Response:
    """The form; the same for everybody."""
    return _form(request)


async def sign_in(request: Request) -> Response:
    """Take a link's secret or an API key, and begin a session."""
    running: Running = request.app.state.running
    if from_elsewhere(request, running):
        return _form(request, 403, "This form was sent from another site; sign in here.")
    try:
        secret = (await read_form(request)).get("secret", "").strip().rpartition("#")[2]
        if not secret:
            return _form(request, 422, "Enter an API key, or a code from a sign-in link.")
        async with running.database.writing() as session:
            text, _ = await console_sessions.sign_in(
                session,
                secret,
                request_id=request.state.request_id,
                address=request.client.host if request.client else "",
                now=time.time(),
            )
    except ApiRefused as error:
        return _form(request, 422, _sentence(str(error)))
    except InvalidToken as error:
        log.info("console sign-in refused", reason=error.reason)
        return _form(request, 401, _LINK_OVER if is_link(secret) else _NO_KEY)
    except Unavailable as error:
        return _form(request, 503, _sentence(str(error)))
    answer = json_answer({"location": _HOME}) if _wants_json(request) else see_other(_HOME)
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
            address=call.request.client.host if call.request.client else "",
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


def _form(request: Request, status: int = 200, problem: str = "") -> Response:
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
    )


def _wants_json(request: Request) -> bool:
    return request.headers.get("x-console") == "form"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?")) else ".")
