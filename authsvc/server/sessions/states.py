"""Users and credentials as the desk's transaction sees them, and as they will be written."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = [
    "CREDENTIAL_COLUMNS",
    "ISSUED_COLUMNS",
    "USER_COLUMNS",
    "CredentialState",
    "UserState",
]


@dataclass(slots=True)
class UserState:
    """What of a user's row matters when a credential is issued."""

    id: str
    username: str
    token: str
    disabled_at: int | None
    superseded_at: int | None
    max_subscriptions: int | None
    max_payload: int | None
    roles: list[str]
    last_login_at: int | None
    logged_in: bool = False
    created: bool = False


@dataclass(slots=True)
class CredentialState:
    """A credential's row, as it is and as it will be written."""

    id: str
    user_id: str
    public_key: str
    name: str
    app: str | None
    method: str
    ttl: int | None
    login_at: int
    issued_at: int
    expires_at: int
    alive_until: int
    jti: str
    signer: str
    revoked_at: int | None
    superseded_at: int | None
    last_used_at: int | None
    created: bool = False


USER_COLUMNS = [
    field.name for field in fields(UserState) if field.name not in {"logged_in", "created"}
]
CREDENTIAL_COLUMNS = [field.name for field in fields(CredentialState) if field.name != "created"]
_FIXED = {"id", "user_id", "public_key", "app", "revoked_at", "superseded_at"}
ISSUED_COLUMNS = [name for name in CREDENTIAL_COLUMNS if name not in _FIXED]
"""What issuing a JWT changes; revoking and superseding are not issuing's to write."""
