"""The admin API as the console calls it: in process, with the rights of the session's API key.

The same application answers that answers everybody else, so scopes are enforced, bodies checked and
audit events written by one piece of code. Only how the caller is known differs: by the session
instead of an Authorization header.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["AdminApi", "ApiRefused", "quoted"]

_FAILED = 400


class ApiRefused(Exception):
    """The API refused.

    Args:
        problem: Its problem document (RFC 9457).
    """

    def __init__(self, problem: Mapping[str, Any]) -> None:
        self.problem = problem
        self.status = int(problem.get("status", 500))
        super().__init__(str(problem.get("detail") or problem.get("title")))


class AdminApi:
    """The API, for one request to the console.

    Args:
        request: The request; its id and its address count for the calls too.
        api_key_id: Whose rights the calls have.
    """

    def __init__(self, request: Request, api_key_id: str) -> None:
        client = request.client
        self._transport = httpx.ASGITransport(
            _AsKey(request.app, api_key_id),
            raise_app_exceptions=False,
            client=(client.host, client.port) if client else ("", 0),
        )
        self._headers = {"X-Request-Id": request.state.request_id}

    async def get(self, path: str, **params: object) -> dict[str, Any]:
        """GET; parameters that are None or empty are left out.

        Raises:
            ApiRefused: The API refused.
        """
        return await self._call("GET", path, params=_given(params))

    async def post(
        self, path: str, body: Mapping[str, Any] | None = None, *, once: str | None = None
    ) -> dict[str, Any]:
        """POST.

        Args:
            path: The route.
            body: What it reads.
            once: An Idempotency-Key, so that a form that is sent twice counts once.

        Raises:
            ApiRefused: The API refused.
        """
        headers = {"Idempotency-Key": once} if once else {}
        return await self._call("POST", path, json=body, headers=headers)

    async def patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """PATCH; raises as ``get``."""
        return await self._call("PATCH", path, json=body)

    async def delete(self, path: str) -> dict[str, Any]:
        """DELETE; raises as ``get``."""
        return await self._call("DELETE", path)

    async def _call(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **kw: Any
    ) -> dict[str, Any]:
        async with httpx.AsyncClient(
            transport=self._transport, base_url="http://console", headers=self._headers
        ) as client:
            answer = await client.request(method, path, headers=headers, timeout=None, **kw)
        found: dict[str, Any] = answer.json()
        if answer.status_code >= _FAILED:
            raise ApiRefused(found)
        return found


class _AsKey:
    """The application, told in the scope's state whose rights a request has."""

    def __init__(self, app: ASGIApp, api_key_id: str) -> None:
        self._app = app
        self._api_key_id = api_key_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "state": {"console_api_key": self._api_key_id}}, receive, send)


def quoted(part: str) -> str:
    """A part of a path."""
    return quote(part, safe="")


def _given(params: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in params.items() if value not in {None, ""}}
