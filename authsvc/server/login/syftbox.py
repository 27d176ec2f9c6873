"""Login with a SyftBox access token: by the secret that signs it, or by asking its server.

The SyftBox server has neither a JWKS nor an introspection route. Without the secret one of its
ordinary routes is asked, with the token: it answers 400 ``E_INVALID_REQUEST`` about the missing
parameters only after it has accepted the token. A server without authentication answers 401
``E_INVALID_REQUEST``: it proves nobody.

Source: https://github.com/OpenMined/syftbox, internal/server (routes, middlewares, handlers).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from authsvc import jose
from authsvc.errors import InvalidInput, InvalidToken, LoginUnavailable
from authsvc.server.login.identity import Identity, proved
from authsvc.server.login.token import UnverifiedToken

__all__ = ["SyftboxProbe", "SyftboxSecret"]

_NAME = "syftbox"
_ROUTE = "/api/v1/acl/check"
_CONNECT_SECONDS = 2.0
_TOTAL_SECONDS = 5.0
_MAX_ANSWER_BYTES = 64 * 1024
_CACHE_SECONDS = 60
_CACHE_ENTRIES = 10_000
_MAX_CONNECTIONS = 32

_log = logging.getLogger(__name__)


class SyftboxSecret:
    """Believes tokens signed with the secret that the SyftBox server and this service share.

    Args:
        secret: ``auth.access_token_secret`` of the SyftBox server.
        issuer: ``auth.token_issuer`` of the SyftBox server, if it is to be checked.
        url: The SyftBox server, if clients are to be told.
    """

    name = _NAME

    def __init__(self, secret: str, issuer: str | None = None, url: str | None = None) -> None:
        self._secret = secret.encode()
        self._issuer = issuer
        self._url = url

    async def verify(self, token: str, now: float) -> Identity:
        """Who the token's signature proves.

        Raises:
            InvalidToken: It proves nothing.
            InvalidName: It proves a name that the contract refuses.
        """
        unverified = UnverifiedToken.parse(token, now, self._issuer)
        wanted = hmac.digest(self._secret, unverified.signing_input, "sha256")
        if not hmac.compare_digest(wanted, unverified.signature):
            raise InvalidToken("token: the signature does not hold")
        return _believe(unverified)

    def describe(self) -> dict[str, str]:
        """The name, and the SyftBox server's URL if it is known."""
        return _describe(self._url, self._issuer)

    async def close(self) -> None:
        """Nothing is held."""


class SyftboxProbe:
    """Believes tokens that the SyftBox server accepts.

    A token it accepted is not asked about again for a minute. Refusals are never remembered.

    Args:
        url: The SyftBox server.
        issuer: ``auth.token_issuer`` of the SyftBox server, if it is to be checked.
    """

    name = _NAME

    def __init__(self, url: str, issuer: str | None = None) -> None:
        self._url = url.rstrip("/")
        self._issuer = issuer
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(_TOTAL_SECONDS, connect=_CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=_MAX_CONNECTIONS),
            follow_redirects=False,
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            # One person's cookie must not vouch for the next one's token.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )
        # By digest, so that no token lies about in memory; in the order of asking.
        self._accepted: dict[bytes, float] = {}
        self._asking: dict[bytes, asyncio.Task[None]] = {}

    async def verify(self, token: str, now: float) -> Identity:
        """Who the token proves, as the SyftBox server says.

        Raises:
            InvalidToken: The server refuses it.
            InvalidName: It proves a name that the contract refuses.
            LoginUnavailable: The server can't be reached, or answers what it never should.
        """
        unverified = UnverifiedToken.parse(token, now, self._issuer)
        digest = hashlib.sha256(unverified.text.encode()).digest()
        if self._accepted.get(digest, 0) <= now:
            await self._shared(digest, unverified.text)
            self._remember(digest, min(now + _CACHE_SECONDS, unverified.expires_at))
        return _believe(unverified)

    def describe(self) -> dict[str, str]:
        """The name and the SyftBox server's URL."""
        return _describe(self._url, self._issuer)

    async def close(self) -> None:
        """Close the connections to the SyftBox server."""
        for task in list(self._asking.values()):
            task.cancel()
        await self._client.aclose()

    async def _shared(self, digest: bytes, token: str) -> None:
        """Ask once for all who present the same token now."""
        task = self._asking.get(digest)
        if task is None:
            task = asyncio.create_task(self._ask(token))
            self._asking[digest] = task
            task.add_done_callback(lambda done: self._asked(digest, done))
        # Shielded: who gives up must not take the answer away from the others.
        try:
            await asyncio.shield(task)
        except (InvalidToken, LoginUnavailable) as error:
            raise type(error)(str(getattr(error, "reason", error))) from None
        except asyncio.CancelledError:
            if task.cancelled():
                raise LoginUnavailable("the service is stopping") from None
            raise

    def _asked(self, digest: bytes, task: asyncio.Task[None]) -> None:
        del self._asking[digest]
        if not task.cancelled():
            task.exception()  # seen, even if everybody who asked has gone

    def _remember(self, digest: bytes, until: float) -> None:
        self._accepted.pop(digest, None)
        if len(self._accepted) >= _CACHE_ENTRIES:
            del self._accepted[next(iter(self._accepted))]
        self._accepted[digest] = until

    async def _ask(self, token: str) -> None:
        try:
            async with asyncio.timeout(_TOTAL_SECONDS):
                status, body = await self._get(token)
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            _log.warning("the SyftBox server can't be reached: %s", type(error).__name__)
            raise LoginUnavailable("the SyftBox server can't be reached; try again") from None
        code = _code(body)
        if (status, code) == (400, "E_INVALID_REQUEST"):
            return
        if status == 401:  # noqa: PLR2004
            raise InvalidToken(f"token: the SyftBox server refuses it: {code}")
        _log.warning("the SyftBox server answered %d %s to a question about a token", status, code)
        raise LoginUnavailable("the SyftBox server does not say whether the token is good")

    async def _get(self, token: str) -> tuple[int, bytes]:
        body = b""
        headers = {"Authorization": f"Bearer {token}"}
        async with self._client.stream("GET", self._url + _ROUTE, headers=headers) as answer:
            async for chunk in answer.aiter_raw():
                body += chunk
                if len(body) > _MAX_ANSWER_BYTES:
                    raise LoginUnavailable("the SyftBox server's answer is too long")
        return answer.status_code, body


def _code(body: bytes) -> str:
    """The answer's error code; empty if there is none."""
    try:
        code = jose.loads(body).get("code")
    except InvalidInput:
        return ""
    return code[:64] if isinstance(code, str) and code.isascii() and code.isprintable() else ""


def _believe(token: UnverifiedToken) -> Identity:
    """Called when the token has been verified, and only then."""
    return proved(token.subject, email=True, method=_NAME, expires_at=token.expires_at)


def _describe(url: str | None, issuer: str | None) -> dict[str, str]:
    known = {"name": _NAME, "url": url, "issuer": issuer}
    return {name: value for name, value in known.items() if value is not None}
