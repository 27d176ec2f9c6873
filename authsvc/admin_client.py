"""The admin API called with an API key.

    with AdminApi("https://auth.example.com", api_key) as api:
        user = api.get("/v1/admin/users/alice@example.com")
        api.post("/v1/admin/users/alice@example.com/disable")
        for item in api.pages("/v1/admin/audit", action="credential."):
            ...

No redirect is followed, because the key would travel with it.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import httpx
import orjson

from authsvc.errors import ApiError, InvalidInput, Unavailable
from authsvc.unreachable import unreachable

__all__ = ["AdminApi"]

_PAGE = 500
_PIECE_BYTES = 64 * 1024


class AdminApi:
    """authsvc's admin API at one URL, called with one API key.

    Parameters that are None are left out of the query.

    Args:
        url: Where the service is, such as ``https://auth.example.com``.
        key: The API key.
        timeout: Seconds that each phase of an HTTP call may take.

    Raises:
        InvalidInput: The URL is none for http or https, or the key is no API key.
    """

    def __init__(self, url: str, key: str, *, timeout: float = 30.0) -> None:
        self.url = url.rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise InvalidInput(f"{url!r} is no URL of a service: http:// or https:// is needed")
        if not key.isascii() or not key.isprintable() or not key:
            raise InvalidInput("the API key is none: it has visible ASCII characters only")
        # Reading the trusted certificates takes longer than most calls; http:// needs none, and
        # this context trusts nobody.
        plain = self.url.startswith("http://")
        self._http = httpx.Client(
            timeout=timeout,
            follow_redirects=False,
            headers={"authorization": f"Bearer {key}"},
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the HTTP connections."""
        self._http.close()

    def get(self, path: str, **params: object) -> dict[str, Any]:
        """GET a JSON object.

        Raises:
            ApiError: The service refused.
            Unavailable: It can't be reached.
        """
        return self.call("GET", path, params=params)

    def post(
        self, path: str, json: object = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """POST, such as with an Idempotency-Key among the headers; errors as in ``get``."""
        return self.call("POST", path, json=json, headers=headers)

    def patch(
        self, path: str, json: object, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """PATCH, such as with If-Match among the headers; errors as in ``get``."""
        return self.call("PATCH", path, json=json, headers=headers)

    def delete(self, path: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """DELETE; errors as in ``get``."""
        return self.call("DELETE", path, headers=headers)

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, object] | None = None,
        json: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Any method; an answer without a body is an empty object; errors as in ``get``."""
        with self._answer(method, path, params, json, headers) as response:
            content = response.read()
        try:
            found = orjson.loads(content) if content else {}
        except orjson.JSONDecodeError:
            found = None
        if not isinstance(found, dict):
            raise ApiError(502, {"detail": f"{self.url} did not answer as authsvc does"})
        return found

    def pages(self, path: str, *, limit: int | None = None, **params: object) -> Iterator[Any]:
        """The items of a list, page after page; errors as in ``get``.

        Args:
            path: Such as ``/v1/admin/users``.
            limit: Items altogether; all unless given.
            params: What else goes into the query.
        """
        left, cursor = limit, None
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            page = self.get(path, **params, limit=size, cursor=cursor)
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return
            if left is not None:
                left -= len(page["items"])

    def lines(self, path: str, **params: object) -> Iterator[bytes]:
        """The lines of an NDJSON answer, with their ends, as they come; errors as in ``get``."""
        with self._answer("GET", path, params) as response:
            yield from self._lines(response)

    def exchange(self, path: str, lines: Iterable[bytes]) -> Iterator[bytes]:
        """POST NDJSON; the lines of the answer, after all was sent; errors as in ``get``."""
        headers = {"content-type": "application/x-ndjson"}
        content = _chunked(lines)
        with self._answer("POST", path, headers=headers, content=content) as response:
            yield from self._lines(response)

    def _lines(self, response: httpx.Response) -> Iterator[bytes]:
        rest = b""
        for chunk in self._chunks(response):
            *whole, rest = (rest + chunk).split(b"\n")
            yield from (line + b"\n" for line in whole)
        if rest:
            raise Unavailable(f"{self.url} broke its answer off")

    def _chunks(self, response: httpx.Response) -> Iterator[bytes]:
        try:
            yield from response.iter_bytes()
        except httpx.HTTPError as error:
            raise Unavailable(f"{self.url} broke its answer off") from error

    @contextmanager
    def _answer(  # noqa: PLR0917
        self,
        method: str,
        path: str,
        params: Mapping[str, object] | None = None,
        json: object = None,
        headers: Mapping[str, str] | None = None,
        content: Iterable[bytes] | None = None,
    ) -> Iterator[httpx.Response]:
        query: dict[str, Any] = {k: v for k, v in (params or {}).items() if v is not None}
        request = self._http.build_request(
            method,
            self.url + path,
            params=query or None,
            json=json,
            headers=headers,
            content=content,
        )
        try:
            response = self._http.send(request, stream=True)
        except httpx.HTTPError as error:
            why = unreachable(error)
            raise Unavailable(f"authsvc can't be reached at {self.url} ({why})") from error
        try:
            if not response.is_success:
                raise _refusal(response)
            yield response
        except httpx.HTTPError as error:
            raise Unavailable(f"{self.url} broke its answer off") from error
        finally:
            response.close()


def _chunked(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines in larger pieces; of a file itself httpx would take the size, 0 for a pipe."""
    piece, size = [], 0
    for line in lines:
        piece.append(line)
        size += len(line)
        if size >= _PIECE_BYTES:
            yield b"".join(piece)
            piece, size = [], 0
    yield b"".join(piece)


def _refusal(response: httpx.Response) -> ApiError:
    """The problem document as an exception."""
    if response.is_redirect:
        text = "a redirect, which is not followed with an API key; use the final URL"
        return ApiError(response.status_code, {"detail": text})
    try:
        problem = orjson.loads(response.read())
    except orjson.JSONDecodeError:
        problem = {}
    try:
        retry_after = float(response.headers.get("retry-after", ""))
    except ValueError:
        retry_after = None
    return ApiError(response.status_code, problem if isinstance(problem, dict) else {}, retry_after)
