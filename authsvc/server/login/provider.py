"""An OIDC provider as it describes itself: where it does what, and its keys.

    provider = Provider("https://accounts.example.com")
    keys = await provider.keys("kid of a token", "RS256")

Keys are fetched when the first token comes, and again

- in the background, when a token comes and they are five minutes old,
- before the token is judged, when they are an hour old, or the token names a key not among them,

but never within thirty seconds of the last time, whatever comes and however the last time ended.
While the provider can't be reached the last keys count, for a day unless set otherwise.

Sources: OpenID Connect Discovery 1.0; RFC 7517 (JWK); RFC 7518; RFC 8725 section 3.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from jwt import PyJWK
from jwt.exceptions import PyJWTError

from authsvc import jose
from authsvc.errors import InvalidInput, InvalidToken, LoginUnavailable
from authsvc.server.login.remote import Remote
from authsvc.server.login.roca import is_guessable

__all__ = ["KEYS_COUNT_SECONDS", "Endpoints", "Provider"]

KEYS_COUNT_SECONDS = 86400.0
_BETWEEN_SECONDS = 30.0
_FRESH_SECONDS = 300.0
_OLD_SECONDS = 3600.0
_DISCOVERY_SECONDS = 3600.0
_MAX_BYTES = 256 * 1024
_MAX_KEYS = 100
_MIN_RSA_BITS = 2048
_PATH = "/.well-known/openid-configuration"

# What a key has to be for an algorithm: RFC 7518 sections 3.3 to 3.5, RFC 8037 section 3.1.
_SHAPES = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", None)),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}

_KINDS = ("RSA", "EC", "OKP")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a provider does what; an empty text where it does not say."""

    jwks: str
    authorization: str = ""
    token: str = ""


class Provider:
    """An OIDC provider.

    Args:
        issuer: Its ``iss``, to the letter; discovery is below it.
        keys_count: Seconds for which the last keys count while none can be fetched.
        clock: Seconds, never going back.
    """

    def __init__(
        self,
        issuer: str,
        *,
        keys_count: float = KEYS_COUNT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.issuer = issuer
        self._plain = urlsplit(issuer).scheme == "http"  # loopback, as the settings see to
        self._keys_count = keys_count
        self._clock = clock
        self._remote = Remote("the OIDC provider", max_bytes=_MAX_BYTES)
        self._keys: list[dict[str, Any]] = []
        self._ready: dict[tuple[str | None, str], list[PyJWK]] = {}
        self._fetched_at = self._tried_at = self._described_at = float("-inf")
        self._endpoints: Endpoints | None = None
        self._failed = False
        self._fetching: asyncio.Task[None] | None = None

    async def keys(self, kid: str | None, algorithm: str) -> Sequence[PyJWK]:
        """The keys that may have signed a token.

        Args:
            kid: As the token's header has it, if it does.
            algorithm: One of those that this service takes, as the header has it.

        Raises:
            InvalidToken: The provider has no such key, or too many to tell which.
            LoginUnavailable: There are no keys that still count, and none can be fetched.
        """
        age = self._clock() - self._fetched_at
        found = self._match(kid, algorithm)
        if found and age < _OLD_SECONDS:
            if age >= _FRESH_SECONDS:
                self._fetch_soon()
            return found
        await self._refresh()
        if self._clock() - self._fetched_at >= self._keys_count:
            raise LoginUnavailable("the OIDC provider's keys can't be fetched; try again")
        found = self._match(kid, algorithm)
        if found:
            return found
        if self._failed:
            raise LoginUnavailable("the OIDC provider can't be asked about a new key; try again")
        raise InvalidToken("token: the OIDC provider publishes no such key")

    async def endpoints(self) -> Endpoints:
        """Where the provider lets people sign in.

        Raises:
            LoginUnavailable: It never said so yet, and can't be asked.
        """
        if self._endpoints is None:
            await self._refresh()
        if self._endpoints is None:
            raise LoginUnavailable("the OIDC provider can't be reached; try again")
        return self._endpoints

    @property
    def remote(self) -> Remote:
        """The provider over HTTP."""
        return self._remote

    async def close(self) -> None:
        """Give up what is being fetched, and close the connections."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait({self._fetching})
        await self._remote.close()

    async def _refresh(self) -> None:
        """Fetch now, once for all who ask now; nothing within thirty seconds of the last time."""
        self._fetch_soon()
        if self._fetching is not None:
            # This wait may be cancelled, the fetching is not.
            await asyncio.wait({self._fetching})

    def _fetch_soon(self) -> None:
        if self._fetching is None and self._clock() - self._tried_at >= _BETWEEN_SECONDS:
            self._tried_at = self._clock()
            self._fetching = asyncio.create_task(self._fetch(), name="authsvc-oidc-keys")
            self._fetching.add_done_callback(self._fetched)

    def _fetched(self, task: asyncio.Task[None]) -> None:
        self._fetching = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed = True
            _log.error("the OIDC provider's keys: %s", type(error).__name__)

    async def _fetch(self) -> None:
        self._failed, again = False, self._failed
        try:
            old = self._clock() - self._described_at >= _DISCOVERY_SECONDS
            if self._endpoints is None or old or again:
                self._endpoints = await self._describe()
                self._described_at = self._clock()
            keys = _read_keys(await self._get(self._endpoints.jwks))
        except (LoginUnavailable, InvalidInput) as error:
            self._failed = True
            _log.warning("the OIDC provider %s: %s", self.issuer, error)
            return
        self._keys, self._ready = keys, {}
        self._fetched_at = self._clock()

    async def _describe(self) -> Endpoints:
        document = await self._get(self.issuer.rstrip("/") + _PATH)
        if document.get("issuer") != self.issuer:
            raise InvalidInput(
                f"it calls itself {document.get('issuer')!r}; AUTHSVC_OIDC_ISSUER has to be the "
                "same to the letter, a slash at the end too"
            )
        return Endpoints(
            jwks=self._url(document, "jwks_uri"),
            authorization=self._url(document, "authorization_endpoint", needed=False),
            token=self._url(document, "token_endpoint", needed=False),
        )

    def _url(self, document: dict[str, Any], name: str, *, needed: bool = True) -> str:
        """One of the document's URLs; https, as the issuer is, so that it can't lead elsewhere."""
        value = document.get(name)
        if value is None and not needed:
            return ""
        if not isinstance(value, str):
            raise InvalidInput(f"its discovery has no {name}")
        same = urlsplit(self.issuer)
        try:
            parts = urlsplit(value)
        except ValueError:
            raise InvalidInput(f"its {name} is no URL") from None
        plain = self._plain and (parts.scheme, parts.netloc) == (same.scheme, same.netloc)
        if not (parts.scheme == "https" or plain) or not parts.hostname or "@" in parts.netloc:
            raise InvalidInput(f"its {name} is no https URL")
        return value

    async def _get(self, url: str) -> dict[str, Any]:
        status, body = await self._remote.ask("GET", url)
        if status != 200:  # noqa: PLR2004
            raise InvalidInput(f"{urlsplit(url).path} answers {status}")
        return jose.loads(body)

    def _match(self, kid: str | None, algorithm: str) -> list[PyJWK]:
        """The keys for a token; without a kid only where there is no doubt (RFC 7515, 4.1.4)."""
        if kid is not None and not any(kid == key.get("kid") for key in self._keys):
            return []
        found = self._ready.get((kid, algorithm))
        if found is None:
            fitting = [
                ready
                for key in self._keys
                if (kid is None or key.get("kid") == kid)
                and (ready := _prepare(key, algorithm)) is not None
            ]
            found = fitting if kid is not None or len(fitting) == 1 else []
            self._ready[kid, algorithm] = found
        return found


def _read_keys(document: dict[str, Any]) -> list[dict[str, Any]]:
    keys = document.get("keys")
    if not isinstance(keys, list) or len(keys) > _MAX_KEYS:
        raise InvalidInput(f"its JWKS has no list of keys, or one above {_MAX_KEYS}")
    found = []
    for key in keys:
        if not isinstance(key, dict) or key.get("kty") not in _KINDS:
            continue  # of another kind, as RFC 7517 section 5 wants; never a shared secret
        if "d" in key:
            _log.error("the OIDC provider publishes a private key; it is not used")
        elif key.get("use", "sig") == "sig" and _may_verify(key.get("key_ops")):
            found.append(key)
    return found


def _may_verify(operations: object) -> bool:
    return operations is None or (isinstance(operations, list) and "verify" in operations)


def _prepare(key: dict[str, Any], algorithm: str) -> PyJWK | None:
    """The key for this algorithm, if it is one for it."""
    kind, curve = _SHAPES[algorithm]
    if key.get("kty") != kind or key.get("alg", algorithm) != algorithm:
        return None
    if curve is not None and key.get("crv") != curve:
        return None
    try:
        ready = PyJWK(key, algorithm)
    except (PyJWTError, ValueError, TypeError):
        _log.warning("the OIDC provider publishes a key that can't be read")
        return None
    if kind == "RSA" and ready.key.key_size < _MIN_RSA_BITS:
        _log.warning("the OIDC provider publishes an RSA key below %d bits", _MIN_RSA_BITS)
        return None
    if kind == "RSA" and is_guessable(ready.key.public_numbers().n):
        _log.error("the OIDC provider publishes an RSA key that can be factored (ROCA)")
        return None
    return ready
