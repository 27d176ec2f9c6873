"""The HTTP API of authsvc as typed calls.

    async with Api("https://auth.example.com", key=key) as api:
        credential = await api.login(access_token)
        credential = await api.renew(credential.jwt)

Every call that presents a token proves with the nkey, by DPoP (RFC 9449), that it comes from
the token's holder. No redirect is followed, because a token would travel with it.
"""

from __future__ import annotations

import re
import secrets
import ssl
import time
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from authsvc import dpop, jose
from authsvc.credential import Credential
from authsvc.errors import ApiError, InvalidInput, Unavailable
from authsvc.nkey import KeyPair, Prefix, PublicKey
from authsvc.unreachable import unreachable

__all__ = ["Api", "Credential"]

_MAX_ANSWER_BYTES = 4 << 20
_CLOCK_SLACK_SECONDS = 5.0
_TOKEN = re.compile(r"[!-~]+")


class Api:
    """authsvc at one URL, called with one nkey.

    Args:
        url: Where the service is, such as ``https://auth.example.com``.
        key: The user's nkey, which signs the proofs; only ``discover`` works without one.
        timeout: Seconds that each phase of an HTTP call may take.

    Raises:
        InvalidInput: Not an absolute http or https URL.
    """

    def __init__(self, url: str, *, key: KeyPair | None = None, timeout: float = 10.0) -> None:
        self.url = url.rstrip("/")
        dpop.target(self.url)  # refuses what is no http or https URL, before a token is sent
        try:
            httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise InvalidInput(f"not a URL: {error}") from error
        self._key = key
        self._offset = 0.0
        # Reading the trusted certificates takes 15 ms and close to 1 MiB; http:// needs none, and
        # this context trusts nobody.
        plain = self.url.lower().startswith("http://")
        self._http = httpx.AsyncClient(
            timeout=timeout,
            follow_redirects=False,
            headers={"accept": "application/json"},
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else True,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the HTTP connections."""
        await self._http.aclose()

    @property
    def clock_offset(self) -> float:
        """Seconds that the service's clock is ahead of this one, as far as a refusal told."""
        return self._offset

    async def discover(self) -> dict[str, Any]:
        """What the service says of itself: ``/.well-known/authsvc``.

        Raises:
            ApiError: The service refused.
            Unavailable: It can't be reached.
        """
        return await self._call("GET", "/.well-known/authsvc")

    async def account_jwt(self, public_key: str) -> str:
        """The account's JWT, as nats-server's URL resolver gets it.

        Args:
            public_key: The account (A...).

        Raises:
            ApiError: The service has no such account.
            Unavailable: It can't be reached.
        """
        path = f"/jwt/v1/accounts/{PublicKey.parse(public_key, Prefix.ACCOUNT).text}"
        response, content = await self._send("GET", path, "", None, None)
        if not response.is_success:
            _answer(response, content)
        return content.decode("ascii", "replace").strip()

    async def login(
        self,
        token: str,
        *,
        method: str | None = None,
        name: str | None = None,
        ttl: int | None = None,
        app: str | None = None,
        username: str | None = None,
    ) -> Credential:
        """Exchange an identity token for a credential of this key.

        Args:
            token: The identity token, such as a SyftBox access token.
            method: The login method; the service decides if None.
            name: What to call the credential in lists.
            ttl: Seconds it shall live; the service's limit holds.
            app: Narrow it to this app.
            username: Who this is; needed where an enrolment key is for several users.

        Raises:
            ApiError: The service refused.
            InvalidInput: The token is none: empty, or not all visible ASCII.
            Unavailable: It can't be reached.
        """
        members = {
            "method": method,
            "name": name,
            "ttl": ttl,
            "app": app,
            "username": username,
        }
        body = {key: value for key, value in members.items() if value is not None}
        answer = await self._call(
            "POST", "/v1/credentials", scheme="Bearer", token=token, body=body or None
        )
        return self._credential(answer)

    async def renew(self, jwt: str) -> Credential:
        """A new JWT for the credential behind this one.

        Raises:
            ApiError: The service refused: revoked, expired too long ago, or the session is over.
            Unavailable: It can't be reached.
        """
        answer = await self._call("POST", "/v1/credentials/renew", token=jwt)
        return self._credential(answer)

    async def credentials(self, jwt: str, *, limit: int = 100, cursor: str = "") -> dict[str, Any]:
        """One page of the user's credentials: ``items`` and ``next_cursor``.

        Raises:
            ApiError: The service refused.
            Unavailable: It can't be reached.
        """
        return await self._call("GET", f"/v1/credentials{_page(limit, cursor)}", token=jwt)

    async def revoke(self, jwt: str, credential_id: str) -> dict[str, Any]:
        """Revoke one of the user's credentials, for ever.

        Raises:
            ApiError: The service refused.
            Unavailable: It can't be reached.
        """
        path = f"/v1/credentials/{quote(credential_id, safe='')}"
        return await self._call("DELETE", path, token=jwt)

    async def me(self, jwt: str) -> dict[str, Any]:
        """Who this is: username, token, effective permissions, apps.

        Raises:
            ApiError: The service refused.
            Unavailable: It can't be reached.
        """
        return await self._call("GET", "/v1/me", token=jwt)

    async def apps(self, jwt: str, *, limit: int = 100, cursor: str = "") -> dict[str, Any]:
        """One page of the apps that the user registered: ``items`` and ``next_cursor``.

        Raises:
            ApiError: The service refused.
            Unavailable: It can't be reached.
        """
        return await self._call("GET", f"/v1/me/apps{_page(limit, cursor)}", token=jwt)

    async def apps_of(
        self, jwt: str, user: str, *, limit: int = 100, cursor: str = ""
    ) -> dict[str, Any]:
        """One page of the apps that another user offers.

        Args:
            jwt: The NATS user JWT of who asks.
            user: A username, or a user's id.
            limit: How many at most.
            cursor: The page before's ``next_cursor``.

        Raises:
            ApiError: The service refused.
            Unavailable: It can't be reached.
        """
        path = f"/v1/users/{quote(user, safe='@')}/apps{_page(limit, cursor)}"
        return await self._call("GET", path, token=jwt)

    async def set_app(self, jwt: str, app: str, *, offline: bool = True) -> dict[str, Any]:
        """Register an app; its stored requests wait for it where ``offline`` is set.

        Raises:
            ApiError: The service refused.
            Unavailable: It can't be reached.
        """
        body = {"offline": offline}
        return await self._call("PUT", _app_path(app), token=jwt, body=body)

    async def delete_app(self, jwt: str, app: str) -> dict[str, Any]:
        """Remove an app, and the requests that wait for it.

        Raises:
            ApiError: The service refused.
            Unavailable: It can't be reached.
        """
        return await self._call("DELETE", _app_path(app), token=jwt)

    async def mailbox(self, jwt: str) -> dict[str, Any]:
        """Whether the user's responses are kept, and the limits of the mailbox.

        Raises:
            ApiError: The service refused.
            Unavailable: It can't be reached.
        """
        return await self._call("GET", "/v1/me/mailbox", token=jwt)

    async def set_mailbox(self, jwt: str, **limits: int) -> dict[str, Any]:
        """Have the user's responses kept; limits that are not given stay as they are.

        Args:
            jwt: The NATS user JWT.
            limits: ``max_age`` in seconds, ``max_pending`` per requester and app.

        Raises:
            ApiError: The service refused.
            Unavailable: It can't be reached.
        """
        body = {"responses": True, **limits}
        return await self._call("PUT", "/v1/me/mailbox", token=jwt, body=body)

    async def dead_letters(
        self, jwt: str, app: str, *, limit: int = 100, cursor: str = ""
    ) -> dict[str, Any]:
        """One page of the app's requests that could not be handled, the newest first.

        Raises:
            ApiError: The service refused.
            Unavailable: It can't be reached.
        """
        path = f"{_app_path(app)}/dead-letters{_page(limit, cursor)}"
        return await self._call("GET", path, token=jwt)

    async def requeue(self, jwt: str, app: str, letter_id: str) -> dict[str, Any]:
        """Let a dead letter be handled once more.

        Raises:
            ApiError: The service refused.
            Unavailable: It can't be reached.
        """
        path = f"{_app_path(app)}/dead-letters/{quote(letter_id, safe='')}/requeue"
        return await self._call("POST", path, token=jwt)

    async def post_form(self, path: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """POST a form with a proof and no token, as OAuth's routes take it; see ``device_client``.

        Returns:
            The status and the answer, whatever they are.

        Raises:
            Unavailable: The service can't be reached.
        """
        for attempt in (1, 2):
            request = self._http.build_request("POST", self.url + path, data=form)
            request.headers["DPoP"] = self._proof("POST", str(request.url), None)
            response, content = await self._read(request)
            try:
                answer = jose.loads(content)
            except InvalidInput:
                answer = {}
            late = answer.get("error") == "invalid_dpop_proof" and self._correct(response)
            if not (late and attempt == 1):
                break
        return response.status_code, answer

    @staticmethod
    def _credential(answer: dict[str, Any]) -> Credential:
        try:
            return Credential.parse(answer)
        except InvalidInput as error:
            raise ApiError(502, {"detail": str(error)}) from error

    async def _call(
        self,
        method: str,
        path: str,
        *,
        scheme: str = "DPoP",
        token: str | None = None,
        body: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        for attempt in (1, 2):
            response, content = await self._send(method, path, scheme, token, body)
            corrected = response.status_code == httpx.codes.UNAUTHORIZED and self._correct(response)
            if not (corrected and token is not None and attempt == 1):
                break
        return _answer(response, content)

    async def _send(
        self,
        method: str,
        path: str,
        scheme: str,
        token: str | None,
        body: dict[str, Any] | None,
    ) -> tuple[httpx.Response, bytes]:
        request = self._http.build_request(method, self.url + path, json=body)
        if token is not None:
            if not _TOKEN.fullmatch(token):
                raise InvalidInput("the token is empty, or holds what no token does: is it one?")
            request.headers["Authorization"] = f"{scheme} {token}"
            request.headers["DPoP"] = self._proof(method, str(request.url), token)
        return await self._read(request)

    async def _read(self, request: httpx.Request) -> tuple[httpx.Response, bytes]:
        try:
            response = await self._http.send(request, stream=True)
            try:
                content = b""
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > _MAX_ANSWER_BYTES:
                        raise ApiError(502, {"detail": "the answer is too large to be authsvc's"})
            finally:
                await response.aclose()
        except httpx.HTTPError as error:
            why = unreachable(error)
            raise Unavailable(f"authsvc can't be reached at {self.url} ({why})") from error
        return response, content

    def _proof(self, method: str, url: str, token: str | None) -> str:
        if self._key is None:
            raise InvalidInput("this call needs the user's nkey: pass key= to Api")
        now = time.time() + self._offset
        # A fresh jti each time: the service takes none twice.
        jti = secrets.token_urlsafe(16)
        return dpop.make(self._key, method, url, token=token, now=now, jti=jti)

    def _correct(self, response: httpx.Response) -> bool:
        """Set this clock by the refusal's ``Date``; whether that changed anything."""
        try:
            date = parsedate_to_datetime(response.headers.get("date", "")).timestamp()
        except (TypeError, ValueError, OverflowError):
            return False
        offset = date - time.time()
        if abs(offset - self._offset) <= _CLOCK_SLACK_SECONDS:
            return False
        self._offset = offset
        return True


def _page(limit: int, cursor: str) -> str:
    return f"?limit={limit}" + (f"&cursor={quote(cursor, safe='')}" if cursor else "")


def _app_path(app: str) -> str:
    return f"/v1/me/apps/{quote(app, safe='')}"


def _answer(response: httpx.Response, content: bytes) -> dict[str, Any]:
    try:
        data = jose.loads(content) if content else {}
    except InvalidInput:
        data = {}
    if response.is_success:
        return data
    if response.is_redirect:
        raise ApiError(
            response.status_code,
            {"detail": "a redirect, which is not followed with a token; use the final URL"},
        )
    try:
        retry_after = float(response.headers.get("retry-after", ""))
    except ValueError:
        retry_after = None
    raise ApiError(response.status_code, data, retry_after)
