"""SyftBox's tokens: an access token from the refresh token, and the one that follows that.

A server may give out a new refresh token with each exchange and refuse the old one. SyftBox's own
file is never written to; what follows its token is kept in a file of ours, under a digest of the
token that it follows. So a token that SyftBox's client writes down later, after a new login for
instance, is the one that counts.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import secrets
import time
from pathlib import Path

import httpx

from authsvc import jose
from authsvc.errors import InvalidInput, NotAuthenticated, Unavailable
from authsvc.rpc._syftbox.config import Config, read_file

__all__ = ["Tokens"]

_log = logging.getLogger(__name__)
_EARLY_SECONDS = 60
_LOOKS, _LOOK_SECONDS = 3, 0.3
_KEPT = 8
_MAX_STATE_BYTES = 1 << 20


class Tokens:
    """The access token of SyftBox's configuration, exchanged before it ends.

    Args:
        config: The configuration.
    """

    def __init__(self, config: Config) -> None:
        self._server = config.server_url
        self._access = config.access_token
        self._given = config.refresh_token
        self._path = config.path
        self._state = config.state_path
        # What followed which, where the file can't be written.
        self._followed: dict[str, str] = {}
        # A token of the environment is not the file's, and may be another user's.
        self._in_file = self._given is not None and self._read_again() == self._given

    async def access(self) -> str:
        """An access token that lives for a minute at least, if it says how long it lives.

        Raises:
            NotAuthenticated: There is none any more.
            Unavailable: The SyftBox server can't be reached, or asks to try later.
        """
        if self._access is None or (self._given is not None and _ends_soon(self._access)):
            self._access = await self._exchange()
        return self._access

    async def _exchange(self) -> str:
        if self._given is None:
            raise NotAuthenticated("the SyftBox access token ended; log in with SyftBox again")
        tried: set[str] = set()
        refusal = NotAuthenticated("SyftBox's configuration holds no token any more")
        looks = 0
        while looks < _LOOKS:
            origin, candidates = await asyncio.to_thread(self._candidates)
            fresh = [token for token in candidates if token not in tried]
            if not fresh:
                # Another process of ours, or SyftBox's client, may write down the next just now.
                looks += 1
                await asyncio.sleep(_LOOK_SECONDS)
                continue
            tried.add(fresh[0])
            try:
                access, following = await _refresh(self._server, fresh[0])
            except NotAuthenticated as error:
                refusal = error
                continue
            if following != fresh[0]:
                await asyncio.to_thread(self._keep, origin, following)
            return access
        raise refusal

    def _candidates(self) -> tuple[str, list[str]]:
        """A digest of the configured token; what may be exchanged now, the newest first."""
        given = (self._read_again() if self._in_file else None) or self._given or ""
        origin = hashlib.sha256(f"{self._server}\n{given}".encode()).hexdigest()
        kept = dict(_read_state(self._state)).get(origin)
        return origin, [token for token in (kept, self._followed.get(origin), given) if token]

    def _keep(self, origin: str, token: str) -> None:
        self._followed[origin] = token
        try:
            others = [pair for pair in _read_state(self._state) if pair[0] != origin]
            _write_state(self._state, [*others[1 - _KEPT :], (origin, token)])
        except OSError as error:
            _log.warning(
                "SyftBox gave a new refresh token, and it can't be kept in %s (%s): at the next "
                "start a login with SyftBox may be needed", self._state, error.strerror,
            )  # fmt: skip

    def _read_again(self) -> str | None:
        if self._path is None:
            return None
        try:
            token = read_file(self._path).get("refresh_token")
        except (NotAuthenticated, FileNotFoundError):
            return None
        return token if isinstance(token, str) and token else None


def _ends_soon(token: str) -> bool:
    try:
        expires = jose.split(token).payload.get("exp")
    except InvalidInput:
        return False
    return isinstance(expires, int | float) and expires < time.time() + _EARLY_SECONDS


async def _refresh(server: str, refresh: str) -> tuple[str, str]:
    """A new access token, and the refresh token to use next."""
    try:
        async with httpx.AsyncClient(timeout=10.0, follow_redirects=False) as http:
            answer = await http.post(f"{server}/auth/refresh", json={"refreshToken": refresh})
    except httpx.HTTPError as error:
        raise Unavailable(f"the SyftBox server can't be reached at {server}") from error
    if answer.status_code == httpx.codes.TOO_MANY_REQUESTS or answer.is_server_error:
        raise Unavailable(f"the SyftBox server answered {answer.status_code}; try again later")
    try:
        pair = jose.loads(answer.content) if answer.is_success else {}
    except InvalidInput:
        pair = {}
    token, following = pair.get("accessToken"), pair.get("refreshToken")
    if not isinstance(token, str) or not token:
        raise NotAuthenticated("SyftBox refuses the refresh token; log in with SyftBox again")
    return token, following if isinstance(following, str) and following else refresh


def _read_state(path: Path) -> list[tuple[str, str]]:
    """What is kept, the oldest first; nothing where the file is none of ours."""
    try:
        status = path.stat()
        foreign = os.name == "posix" and (status.st_uid != os.geteuid() or status.st_mode & 0o077)
        if foreign or status.st_size > _MAX_STATE_BYTES:
            _log.warning("%s is not read: it is another user's, or others can read it", path)
            return []
        data = json.loads(path.read_text("utf-8"))
        return [(str(item["of"]), str(item["token"])) for item in data["refresh_tokens"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        _log.warning("%s can't be read; what it kept is not used", path)
        return []


def _write_state(path: Path, kept: list[tuple[str, str]]) -> None:
    items = [{"of": origin, "token": token} for origin, token in kept]
    text = json.dumps({"version": 1, "refresh_tokens": items}, indent=1)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Whole or not at all, and never readable for others.
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
