"""Asking a server that proves identities: bounded in time and bytes, and never led elsewhere.

Only URLs that the settings name, or that the OIDC provider they name publishes, are asked; nothing
that a client sends becomes one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import NamedTuple

import httpx

from authsvc.errors import LoginUnavailable

__all__ = ["Answer", "Remote"]

_CONNECT_SECONDS = 2.0
_TOTAL_SECONDS = 5.0
_MAX_ANSWER_BYTES = 64 * 1024
_MAX_CONNECTIONS = 32

_log = logging.getLogger(__name__)


class Answer(NamedTuple):
    """What a server answered; nothing of it is believed yet."""

    status: int
    body: bytes


class Remote:
    """A server that is asked about identities.

    Args:
        what: What messages call it, such as ``the SyftBox server``.
        max_bytes: How long an answer may be.
    """

    def __init__(self, what: str, *, max_bytes: int = _MAX_ANSWER_BYTES) -> None:
        self.what = what
        self._max_bytes = max_bytes
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(_TOTAL_SECONDS, connect=_CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=_MAX_CONNECTIONS),
            follow_redirects=False,
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            # One person's cookie must not vouch for the next one's token.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )

    async def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request; whatever status comes is the answer, a redirect too.

        Args:
            method: The HTTP method.
            url: Where.
            headers: More headers.
            form: A body, as a form.

        Raises:
            LoginUnavailable: No answer in time, or one that is too long.
        """
        try:
            async with asyncio.timeout(_TOTAL_SECONDS):
                return await self._ask(method, url, headers, form)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            _log.warning("%s can't be reached: %s", self.what, type(error).__name__)
            raise LoginUnavailable(f"{self.what} can't be reached; try again") from None

    async def _ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        form: Mapping[str, str] | None,
    ) -> Answer:
        body = b""
        async with self._client.stream(method, url, headers=headers, data=form) as answer:
            async for chunk in answer.aiter_raw():
                body += chunk
                if len(body) > self._max_bytes:
                    raise LoginUnavailable(f"{self.what} answers more than is read")
        return Answer(answer.status_code, body)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
