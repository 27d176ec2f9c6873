"""Signing a person in at the OIDC provider, in a browser: authorization code with PKCE.

    secret = secrets.token_urlsafe(32)                  # kept by the browser alone, in a cookie
    url = await sign_in.address(secret, redirect_uri)   # send the browser there
    ...                                                 # it comes back with code, state and iss
    identity = await sign_in.identify(secret, came_back, redirect_uri, now)

State, nonce and PKCE's verifier are derived from the secret, so the service keeps nothing, and
whoever comes back without the cookie of the browser that left gets nowhere.

Sources: OpenID Connect Core 1.0 section 3.1; RFC 7636 (PKCE); RFC 9207 (iss); RFC 9700.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import quote_plus, urlencode

from authsvc import jose
from authsvc.errors import InvalidInput, InvalidToken, LoginUnavailable
from authsvc.server.login.identity import Identity
from authsvc.server.login.oidc import OidcLogin

__all__ = ["SignIn", "derived"]

_MAX_CODE_CHARS = 4096

_log = logging.getLogger(__name__)


def derived(secret: str, purpose: str) -> str:
    """A value that only who knows the secret can make, and that tells nothing about it.

    Args:
        secret: Random, of 128 bits or more.
        purpose: What the value is for.
    """
    return jose.b64encode(hmac.digest(secret.encode(), purpose.encode(), "sha256"))


class SignIn:
    """Where people sign in with a browser.

    Args:
        oidc: The login method of the provider.
        client_secret: Of this service's client there, if it has one.
        scope: What is asked for.
    """

    def __init__(
        self, oidc: OidcLogin, client_secret: str | None = None, scope: str = "openid email profile"
    ) -> None:
        self._oidc = oidc
        self._client_secret = client_secret
        self._scope = scope

    async def address(self, secret: str, redirect_uri: str) -> str:
        """Where the browser has to go.

        Args:
            secret: The browser's.
            redirect_uri: Where it comes back to, as it is registered at the provider.

        Raises:
            LoginUnavailable: The provider can't be reached, or lets nobody sign in like this.
        """
        base = (await self._oidc.provider.endpoints()).authorization
        if not base:
            raise LoginUnavailable("the OIDC provider has no authorization endpoint")
        verifier = derived(secret, "verifier").encode()
        query = {
            "response_type": "code",
            "client_id": self._oidc.client_id,
            "redirect_uri": redirect_uri,
            "scope": self._scope,
            "state": derived(secret, "state"),
            "nonce": derived(secret, "nonce"),
            "code_challenge": jose.b64encode(hashlib.sha256(verifier).digest()),
            "code_challenge_method": "S256",
        }
        return f"{base}{'&' if '?' in base else '?'}{urlencode(query)}"

    async def identify(
        self, secret: str, came_back: Mapping[str, str], redirect_uri: str, now: float
    ) -> Identity:
        """Who signed in.

        Args:
            secret: Of the browser that came back.
            came_back: The query that the provider sent it with.
            redirect_uri: As ``address`` got it.
            now: Seconds since the epoch.

        Raises:
            InvalidToken: Nobody, or it is the answer to another sign-in.
            InvalidName: The contract refuses the name.
            LoginUnavailable: The provider can't be reached.
        """
        state = came_back.get("state", "")
        if not hmac.compare_digest(state.encode(), derived(secret, "state").encode()):
            raise InvalidToken("sign-in: state is not this browser's")
        if came_back.get("iss", self._oidc.provider.issuer) != self._oidc.provider.issuer:
            raise InvalidToken("sign-in: another provider answers")
        code = came_back.get("code", "")
        if not code or len(code) > _MAX_CODE_CHARS:
            raise InvalidToken(f"sign-in: no code: {came_back.get('error', '')[:64]!r}")
        token = await self._exchange(code, derived(secret, "verifier"), redirect_uri)
        return await self._oidc.verify_sign_in(token, derived(secret, "nonce"), now)

    async def _exchange(self, code: str, verifier: str, redirect_uri: str) -> str:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        headers: dict[str, str] = {}
        if self._client_secret is None:
            form["client_id"] = self._oidc.client_id
        else:
            # RFC 6749 section 2.3.1.
            both = f"{quote_plus(self._oidc.client_id)}:{quote_plus(self._client_secret)}"
            headers["Authorization"] = f"Basic {b64encode(both.encode()).decode()}"
        provider = self._oidc.provider
        url = (await provider.endpoints()).token
        if not url:
            raise LoginUnavailable("the OIDC provider has no token endpoint")
        status, body = await provider.remote.ask("POST", url, headers=headers, form=form)
        try:
            answer = jose.loads(body)
        except InvalidInput:
            answer = {}
        token = answer.get("id_token")
        if status == 200 and isinstance(token, str):  # noqa: PLR2004
            return token
        error = str(answer.get("error"))[:64]
        if error == "invalid_grant":
            raise InvalidToken("sign-in: the provider refuses the code")
        _log.warning("the OIDC provider answered %d %r to a code", status, error)
        raise LoginUnavailable("the OIDC provider does not say who signed in")
