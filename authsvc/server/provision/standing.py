"""Whose connections an account JWT ends. No I/O.

    Standing(account.jwt).ended(whose)      # None, or why

nats-server ends them itself when it takes an account JWT, and refuses new ones. What it lets in
all the same, see ``barred``.

Source: nats-server, server/accounts.go (isRevoked, updateAccountClaimsWithRefresh); github.com/
nats-io/jwt v2, account_claims.go (revocations), signingkeys.go (a key, or an object of a role's).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import orjson

from authsvc import jose

if TYPE_CHECKING:
    from authsvc.server.provision.census import Whose

__all__ = ["Standing", "Why"]

Why = Literal["revoked", "signing-key"]
"""The nkey or everybody was revoked; the key that signed its JWT signs no more."""

_EVERYBODY = "*"


class Standing:
    """An account JWT, as far as it ends connections.

    Args:
        account_jwt: As it stands in our own row, so its signature is not looked at again, which
            would take longer than all the rest; empty for an account that has none yet.
    """

    def __init__(self, account_jwt: str) -> None:
        self._revocations: dict[str, int] = {}
        self._signers: frozenset[str] | None = None
        if account_jwt:
            body = orjson.loads(jose.b64decode(account_jwt.split(".")[1]))
            self._revocations = body["nats"].get("revocations") or {}
            keys = body["nats"].get("signing_keys") or ()
            named = (key["key"] if isinstance(key, dict) else key for key in keys)
            self._signers = frozenset((body["sub"], *named))

    def ended(self, whose: Whose) -> Why | None:
        """Why a connection has ended by now; None if it has not, or it is none of a credential.

        Args:
            whose: Its nkey, when its JWT was issued, and by which key.
        """
        if not whose.public_key:
            return None
        for name in (whose.public_key, _EVERYBODY):
            if self._revocations.get(name, -1) >= whose.issued_at:
                return "revoked"
        if self._signers is not None and whose.signer not in self._signers:
            return "signing-key"
        return None
