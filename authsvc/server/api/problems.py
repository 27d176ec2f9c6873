"""One table from exceptions to problem documents (RFC 9457); the only place that knows statuses.

What is not in the table becomes an opaque 500: its text stays in the log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from authsvc import errors, jose
from authsvc.server import logs, metrics

__all__ = [
    "MEDIA_TYPE",
    "PROBLEMS",
    "Endpoint",
    "Problem",
    "answer_of",
    "install",
    "problem_response",
]

Endpoint = Callable[[Request], Awaitable[Response]]

MEDIA_TYPE = "application/problem+json"
log = structlog.get_logger("authsvc.api")


class Problem(NamedTuple):
    """How one kind of exception is answered."""

    status: int
    slug: str
    title: str


PROBLEMS: dict[type[Exception], Problem] = {
    errors.InvalidName: Problem(422, "invalid-name", "The name is not allowed"),
    errors.InvalidSubject: Problem(422, "invalid-subject", "Not a subject"),
    errors.ClaimsTooLarge: Problem(
        422, "credential-too-large", "The credential would be too large"
    ),
    errors.DangerousGrant: Problem(422, "dangerous-grant", "The grant reaches what is others'"),
    errors.IdempotencyMismatch: Problem(
        422, "idempotency-mismatch", "The Idempotency-Key belongs to another request"
    ),
    errors.InvalidInput: Problem(422, "invalid-input", "The request can't be understood"),
    errors.AuthenticationFailed: Problem(401, "unauthenticated", "Authentication failed"),
    errors.UserDisabled: Problem(403, "user-disabled", "The user is disabled"),
    errors.UserUnknown: Problem(403, "user-unknown", "The user is not known"),
    errors.ScopeMissing: Problem(403, "scope-missing", "The API key may not do this"),
    errors.Forbidden: Problem(403, "forbidden", "Not allowed"),
    errors.KeyTaken: Problem(409, "key-taken", "The nkey is taken"),
    errors.KeyRevoked: Problem(409, "key-revoked", "The nkey was revoked"),
    errors.RequestInProgress: Problem(
        409, "request-in-progress", "The same request is being handled"
    ),
    errors.WouldCutOff: Problem(409, "would-cut-off", "It would end connections"),
    errors.AccountFull: Problem(409, "account-full", "The account JWT has no room"),
    errors.UserExists: Problem(409, "user-exists", "There is such a user already"),
    errors.VersionMismatch: Problem(412, "version-mismatch", "It was changed in the meantime"),
    errors.Conflict: Problem(409, "conflict", "The state of things does not allow it"),
    errors.NotFound: Problem(404, "not-found", "Not found"),
    errors.TooManyRequests: Problem(429, "too-many-requests", "Too many tries"),
    errors.Overloaded: Problem(503, "overloaded", "Too much is asked for at once"),
    errors.LoginUnavailable: Problem(503, "login-unavailable", "The login server can't be reached"),
    errors.StoreUnavailable: Problem(503, "store-unavailable", "The database can't be reached"),
    errors.KeyUnavailable: Problem(503, "key-unavailable", "No signing key can be used"),
    errors.Unavailable: Problem(503, "unavailable", "Not available now"),
}

_HTTP = {
    400: Problem(400, "bad-request", "The request can't be understood"),
    404: Problem(404, "not-found", "Not found"),
    405: Problem(405, "method-not-allowed", "This route has no such method"),
    413: Problem(413, "body-too-large", "The body is too large"),
    422: Problem(422, "invalid-input", "The request can't be understood"),
}
_OPAQUE = Problem(500, "internal", "Something went wrong")
_CHALLENGE = 'Bearer, DPoP algs="EdDSA Ed25519"'
_RETRY_SECONDS = "2"


def _lookup(error: Exception) -> Problem:
    for kind in type(error).__mro__:
        if kind in PROBLEMS:
            return PROBLEMS[kind]
    return _OPAQUE


def problem_response(
    problem: Problem,
    detail: str,
    *,
    instance: str = "",
    headers: dict[str, str] | None = None,
    **members: Any,
) -> Response:
    """A problem document as a response.

    Args:
        problem: Status, slug and title.
        detail: What happened and what to do next.
        instance: The path of the request.
        headers: More headers.
        members: More members, such as ``errors``.
    """
    document = {
        "type": f"urn:authsvc:problem:{problem.slug}",
        "title": problem.title,
        "status": problem.status,
        "detail": detail,
        "instance": instance,
        **members,
    }
    # Paths and names of fields are repeated, and some people put a secret there.
    content = logs.without_secrets(jose.dumps(document).decode())
    metrics.REFUSED.labels(problem.slug).inc()
    return Response(content, problem.status, headers, media_type=MEDIA_TYPE)


async def _authsvc_error(request: Request, error: Exception) -> Response:
    problem = _lookup(error)
    headers: dict[str, str] = {}
    detail = str(error)
    members: dict[str, Any] = {}
    if isinstance(error, errors.AuthenticationFailed):
        _log(request).info("refused", reason=error.reason)
        headers["WWW-Authenticate"] = _CHALLENGE
    elif problem.status == 503:  # noqa: PLR2004
        cause = repr(error.__cause__ or error)
        _log(request).error("unavailable", problem=problem.slug, cause=cause)
        headers["Retry-After"] = _RETRY_SECONDS
        detail = f"{problem.title}; try again in a moment."
    elif problem is _OPAQUE:
        return _unexpected(request, error)
    else:
        _log(request).info("refused", reason=detail, problem=problem.slug)
        if isinstance(error, errors.TooManyRequests):
            headers["Retry-After"] = str(error.retry_after)
        if isinstance(error, errors.InvalidInput) and error.place:
            members["errors"] = [{"location": error.place, "message": detail}]
        if isinstance(error, errors.WouldCutOff):
            members |= {"credentials": error.credentials, "users": list(error.users)}
    path = request.scope["path"]
    return problem_response(problem, detail, instance=path, headers=headers, **members)


def _log(request: Request) -> Any:
    """The log, under the request's id: the answer tells nothing else of why."""
    request_id = request.scope.get("state", {}).get("request_id", "")
    return log.bind(path=request.scope["path"], request_id=request_id)


async def _invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise TypeError(error)
    # Only place and message: the value itself may be a secret that was put in the wrong field.
    found = [
        {"location": ".".join(str(part) for part in item["loc"]), "message": item["msg"]}
        for item in error.errors()
    ]
    detail = "; ".join(f"{item['location']}: {item['message']}" for item in found)
    return problem_response(_HTTP[422], detail, instance=request.scope["path"], errors=found)


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise TypeError(error)
    problem = _HTTP.get(error.status_code) or Problem(error.status_code, "http", "HTTP error")
    headers = dict(error.headers or {})
    detail = error.detail if error.status_code != 404 else "There is nothing at this path."  # noqa: PLR2004
    if error.status_code == 405:  # noqa: PLR2004
        headers["Allow"] = ", ".join(_methods(request))
    return problem_response(problem, detail, instance=request.scope["path"], headers=headers)


def _methods(request: Request) -> list[str]:
    """What the path of the request takes; the router knows of the first route alone."""
    routes = request.app.router.routes
    return [
        method
        for method in ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes
        )
    ]


async def _gone(request: Request, _error: Exception) -> Response:
    # Nobody reads this; it stands here so that who hangs up fills no log.
    return problem_response(_HTTP[400], "The body ended too early.", instance=request.scope["path"])


def _unexpected(request: Request, error: Exception) -> Response:
    # The type and place only: an exception's text can hold what was being handled.
    _log(request).error("unexpected", error=type(error).__name__, exc_info=error)
    detail = "The service made a mistake; its log has more under this request's X-Request-Id."
    return problem_response(_OPAQUE, detail, instance=request.scope["path"])


class _Opaque:
    """Answers what no handler knows.

    Starlette's own place for that is outside of all middleware: the answer would lack its
    X-Request-Id, and the exception would go on to the HTTP server.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, answer)
        except Exception as error:
            if started or scope["type"] != "http":
                raise
            await _unexpected(Request(scope), error)(scope, receive, send)


_ANSWERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    errors.AuthsvcError: _authsvc_error,
    RequestValidationError: _invalid,
    HTTPException: _http_error,
    ClientDisconnect: _gone,
}


def install(app: FastAPI) -> None:
    """Let the app answer every exception by the table; other middleware is added after this."""
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, answer)
    app.add_middleware(_Opaque)


async def answer_of(endpoint: Endpoint, scope: Scope, receive: Receive) -> Response:
    """One endpoint's answer without the application around it; exceptions are answered the same."""
    request = Request(scope, receive)
    try:
        return await endpoint(request)
    except Exception as error:  # noqa: BLE001 - whatever it is, it becomes an answer
        for kind, answer in _ANSWERS.items():
            if isinstance(error, kind):
                return await answer(request, error)
        return _unexpected(request, error)
