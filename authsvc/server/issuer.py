"""The only place that signs user JWTs.

An ``Issuer`` builds the claims, signs them, validates them and sees that what it signed says just
what was wanted: nothing else ever leaves. That its key signs well is seen once, when the issuer is
made.

Source: github.com/nats-io/jwt/v2, user_claims.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from authsvc.claims import (
    MAX_USER_JWT_BYTES,
    Permissions,
    UserClaims,
    encode,
    ensure_valid,
    members,
    says,
)
from authsvc.errors import ClaimsTooLarge, InvalidClaims, KeyUnavailable
from authsvc.nkey import KeyPair

__all__ = ["CREDENTIAL_TAG", "Issuer", "Minted", "credential_id"]

CREDENTIAL_TAG = "credential:"
_TRIAL = b"authsvc tries a signing key"


@dataclass(slots=True)
class Minted:
    """A user JWT that was looked through after signing; times are seconds since the epoch."""

    jwt: str
    jti: str
    signer: str
    issued_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Issuer:
    """Signs user JWTs for one account.

    Args:
        account: The account's public key.
        key: The account's active signing key.

    Raises:
        KeyUnavailable: What the key signs does not hold.
    """

    account: str
    key: KeyPair

    def __post_init__(self) -> None:
        """Try the key."""
        if not self.key.public.verify(_TRIAL, self.key.sign(_TRIAL)):
            raise KeyUnavailable("what the signing key signs does not hold")

    def issue(
        self,
        *,
        token: str,
        public_key: str,
        credential: str,
        permissions: Permissions,
        subscriptions: int,
        payload: int,
        issued_at: int,
        expires_at: int,
    ) -> Minted:
        """Sign what the user may do.

        Args:
            token: The user's encoded name.
            public_key: The user's nkey.
            credential: The credential's id, which becomes the one tag.
            permissions: Never empty on either side.
            subscriptions: How many subscriptions a connection may hold.
            payload: Bytes in one message, at most.
            issued_at: Seconds since the epoch.
            expires_at: Seconds since the epoch.

        Raises:
            ClaimsTooLarge: nats-server could not take the JWT in its CONNECT line.
            KeyUnavailable: What was signed is not valid, or not what was wanted.
        """
        if not permissions.publish.allow or not permissions.subscribe.allow:
            raise InvalidClaims("an empty allow list would allow everything")
        return self._sign(
            UserClaims(
                subject=public_key,
                name=token,
                issuer_account=self.account,
                permissions=permissions,
                subs=subscriptions,
                payload=payload,
                tags=(f"{CREDENTIAL_TAG}{credential}",),
                issued_at=issued_at,
                expires=expires_at,
            )
        )

    def issue_scoped(
        self, *, token: str, public_key: str, credential: str, issued_at: int, expires_at: int
    ) -> Minted:
        """Sign who the user is; what the user may do stands in the key's template.

        Only for a key that stands in the account JWT with a template.

        Args:
            token: The user's encoded name, which the template is filled in with.
            public_key: The user's nkey.
            credential: The credential's id, which becomes the one tag.
            issued_at: Seconds since the epoch.
            expires_at: Seconds since the epoch.

        Raises:
            KeyUnavailable: What was signed is not valid, or not what was wanted.
        """
        return self._sign(
            UserClaims(
                subject=public_key,
                name=token,
                issuer_account=self.account,
                tags=(f"{CREDENTIAL_TAG}{credential}",),
                issued_at=issued_at,
                expires=expires_at,
            ).scoped()
        )

    def _sign(self, claims: UserClaims) -> Minted:
        try:
            jwt = encode(claims, self.key, MAX_USER_JWT_BYTES)
        except ClaimsTooLarge as error:
            raise ClaimsTooLarge(
                f"{error}: nats-server could not take it; take grants away or merge them into "
                "fewer entries or, where the credential is narrowed to an app, shorten its name"
            ) from None
        self._check(jwt, claims)
        return Minted(jwt, claims.id, self.key.public.text, claims.issued_at, claims.expires)

    def _check(self, jwt: str, wanted: UserClaims) -> None:
        """See that a JWT says what was wanted, to the last byte."""
        try:
            ensure_valid(wanted, wanted.issued_at)
        except InvalidClaims as error:
            raise KeyUnavailable("what was signed is not valid") from error
        if not says(jwt, members.dumps(self._members(wanted))):
            raise KeyUnavailable("what the signing key signed is not what was asked for")

    def _members(self, wanted: UserClaims) -> dict[str, Any]:
        """What has to stand in the JWT and nothing else, spelt out here a second time.

        Whatever the writer of claims does, nobody gets what this does not say.
        """
        nats: dict[str, Any] = {
            "pub": {"allow": wanted.permissions.publish.allow},
            "sub": {"allow": wanted.permissions.subscribe.allow},
            "subs": wanted.subs,
            "data": -1,
            "payload": wanted.payload,
        }
        if wanted.permissions.empty:  # scoped: not even a limit
            nats = {"pub": {}, "sub": {}}
        nats |= {
            "issuer_account": self.account,
            "tags": wanted.tags,
            "type": "user",
            "version": 2,
        }
        return {
            "exp": wanted.expires,
            "jti": wanted.id,
            "iat": wanted.issued_at,
            "iss": self.key.public.text,
            "name": wanted.name,
            "sub": wanted.subject,
            "nats": nats,
        }


def credential_id(claims: UserClaims) -> str | None:
    """The id of the credential that a user JWT belongs to, from its tag."""
    for tag in claims.tags:
        if tag.startswith(CREDENTIAL_TAG):
            return tag.removeprefix(CREDENTIAL_TAG)
    return None
