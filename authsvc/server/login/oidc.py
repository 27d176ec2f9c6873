"""Login with a token of an OIDC provider: an ID token, or an access token that is a JWT.

The issuer, the audience and the algorithms are pinned by the settings; the keys are the provider's.

Sources: OpenID Connect Core 1.0 section 3.1.3.7; RFC 7519; RFC 8725; RFC 9068.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection
from typing import Any

from jwt.exceptions import PyJWTError

from authsvc import jose
from authsvc.errors import InvalidInput, InvalidToken
from authsvc.server.login.identity import Identity, proved
from authsvc.server.login.provider import Provider
from authsvc.server.login.token import check_times

__all__ = ["OidcLogin"]

_MAX_CHARS = 8192
_MAX_KID_CHARS = 256
_SKEW_SECONDS = 60.0
_HEADER_TYPES = {"jwt", "at+jwt", "application/at+jwt"}
# How providers mark what is neither ID nor access token: Keycloak in typ, Cognito in token_use.
_MARKS = ("typ", "token_use", "type")
_NEITHER = {"refresh", "refresh_token", "offline", "logout", "logout+jwt", "email_token"}


class OidcLogin:
    """Believes tokens that an OIDC provider signed for this service.

    Args:
        provider: The provider.
        audience: What ``aud`` has to name.
        claim: Which claim is the username. Where it is ``email`` the provider has to say that it
            verified it.
        algorithms: What ``alg`` may be; none of them symmetric.
        client_id: What clients that let people sign in are known as; the audience unless given.
    """

    name = "oidc"

    def __init__(
        self,
        provider: Provider,
        *,
        audience: str,
        claim: str = "email",
        algorithms: Collection[str] = ("RS256", "ES256", "EdDSA"),
        client_id: str | None = None,
    ) -> None:
        self.provider = provider
        self.client_id = client_id or audience
        self._audience = audience
        self._claim = claim
        self._algorithms = frozenset(algorithms)

    async def verify(self, token: str, now: float, *, claimed: str | None = None) -> Identity:
        """Who the token proves.

        Raises:
            InvalidToken: It proves nothing.
            InvalidName: It proves a name that the contract refuses.
            LoginUnavailable: The provider's keys can't be fetched.
        """
        return self._believe(await self._read(token, now, self._audience), claimed)

    async def verify_sign_in(self, id_token: str, nonce: str, now: float) -> Identity:
        """Who signed in, by the ID token that the provider handed to this service itself.

        Args:
            id_token: From the token endpoint.
            nonce: What the authorization request asked to be repeated.
            now: Seconds since the epoch.

        Raises:
            InvalidToken: It proves nothing, or belongs to another sign-in.
            InvalidName: It proves a name that the contract refuses.
            LoginUnavailable: The provider's keys can't be fetched.
        """
        claims = await self._read(id_token, now, self.client_id)
        if not hmac.compare_digest(str(claims.get("nonce")).encode(), nonce.encode()):
            raise InvalidToken("token: nonce is another sign-in's")
        if claims.get("azp", self.client_id) != self.client_id:
            raise InvalidToken("token: azp is another client")
        return self._believe(claims)

    def describe(self) -> dict[str, str]:
        """The name, the issuer, what tokens have to be for, and as whom to ask for them."""
        return {
            "name": self.name,
            "issuer": self.provider.issuer,
            "audience": self._audience,
            "client_id": self.client_id,
            "username_claim": self._claim,
        }

    async def close(self) -> None:
        """Close the connections to the provider."""
        await self.provider.close()

    async def _read(self, token: str, now: float, audience: str) -> dict[str, Any]:
        """The claims of a token that holds.

        What the token says of itself is looked at first, so that a token which can't be good makes
        nobody ask the provider.
        """
        if len(token) > _MAX_CHARS:
            raise InvalidToken("token: too long")
        try:
            jws = jose.split(token)
        except InvalidInput as error:
            raise InvalidToken(f"token: {error}") from error
        algorithm, kid = self._check_header(jws.header)
        self._check_claims(jws.payload, now, audience)
        await self._check_signature(algorithm, kid, jws.signing_input, jws.signature)
        return jws.payload

    async def _check_signature(
        self, algorithm: str, kid: str | None, signing_input: bytes, signature: bytes
    ) -> None:
        for key in await self.provider.keys(kid, algorithm):
            try:
                good = key.Algorithm.verify(signing_input, key.key, signature)
            except (PyJWTError, ValueError):
                good = False
            if good:
                return
        raise InvalidToken("token: the signature does not hold")

    def _check_header(self, header: dict[str, Any]) -> tuple[str, str | None]:
        algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise InvalidToken("token: alg is none of OIDC_ALGORITHMS")
        if not isinstance(kind, str) or kind.lower() not in _HEADER_TYPES:
            raise InvalidToken("token: typ is not JWT")
        if "crit" in header or "b64" in header:
            raise InvalidToken("token: crit and b64 are not understood")
        if kid is not None and (not isinstance(kid, str) or len(kid) > _MAX_KID_CHARS):
            raise InvalidToken("token: kid is no text, or too long")
        return algorithm, kid

    def _check_claims(self, claims: dict[str, Any], now: float, audience: str) -> None:
        if claims.get("iss") != self.provider.issuer:
            raise InvalidToken("token: another issuer made it")
        given = claims.get("aud")
        audiences = given if isinstance(given, list) else [given]
        if audience not in audiences or not all(isinstance(each, str) for each in audiences):
            raise InvalidToken("token: it is for another audience")
        for name in _MARKS:
            if str(claims.get(name, "")).lower() in _NEITHER:
                raise InvalidToken(f"token: its {name} is neither ID nor access token")
        if "events" in claims:
            raise InvalidToken("token: it tells of an event, such as a logout")
        check_times(claims, now, skew=_SKEW_SECONDS)

    def _believe(self, claims: dict[str, Any], claimed: str | None = None) -> Identity:
        """Called with the claims of a token that was verified, and only then."""
        name = claims.get(self._claim)
        if not isinstance(name, str):
            raise InvalidToken(f"token: the claim {self._claim} is missing or no text")
        email = self._claim == "email"
        # Some providers write JSON's true as a text.
        verified = claims.get("email_verified")
        if email and not (verified is True or verified == "true"):
            raise InvalidToken("token: the provider has not verified the e-mail")
        return proved(
            name,
            email=email,
            method=self.name,
            expires_at=claims["exp"],
            claimed=claimed,
        )
