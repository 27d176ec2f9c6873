"""What goes in and out on the admin routes for users and credentials.

Times are RFC 3339 in UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from authsvc.server.api.schemas import (
    PLAIN,
    CredentialAnswer,
    CredentialItem,
    Moment,
    Propagation,
    rfc3339,
)
from authsvc.server.directory import Counts, NewUser, UserChanges
from authsvc.server.models import User

__all__ = [
    "AssignmentAnswer",
    "AssignmentRequest",
    "ImportResult",
    "RevokeRequest",
    "RevokedAll",
    "RevokedCredential",
    "UserAnswer",
    "UserChange",
    "UserDeleted",
    "UserItem",
    "UserPage",
    "UserPatch",
    "UserRequest",
    "user_json",
]

Role = Annotated[str, Field(min_length=1, max_length=64, pattern=PLAIN)]
Roles = Annotated[list[Role], Field(max_length=32, description="Names of roles.")]
MaxSubscriptions = Annotated[
    int | None,
    Field(
        ge=1,
        le=1_000_000,
        description="Subscriptions of one connection; null: the setting's default.",
    ),
]
MaxPayload = Annotated[
    int | None,
    Field(
        ge=1024,
        le=64 * 1024 * 1024,
        description="Bytes of one message; null: the setting's default.",
    ),
]


class UserRequest(BaseModel):
    """A user to be created; a line of an import is the same."""

    model_config = ConfigDict(extra="forbid", strict=True)

    username: Annotated[
        str, Field(max_length=512, description="An e-mail, or for a service any name.")
    ]
    kind: Literal["email", "service"] = "email"
    roles: Roles = []
    max_subscriptions: MaxSubscriptions = None
    max_payload: MaxPayload = None

    def new_user(self) -> NewUser:
        """The same for the directory.

        Raises:
            InvalidName: The name is refused.
        """
        return NewUser(
            self.username, self.kind, tuple(self.roles), self.max_subscriptions, self.max_payload
        )


class UserPatch(BaseModel):
    """What is to be another; a member that is absent stays."""

    model_config = ConfigDict(extra="forbid", strict=True)

    roles: Roles = []
    max_subscriptions: MaxSubscriptions = None
    max_payload: MaxPayload = None

    def changes(self) -> UserChanges:
        """The members that were given."""
        found: UserChanges = {}
        if "roles" in self.model_fields_set:
            found["roles"] = self.roles
        if "max_subscriptions" in self.model_fields_set:
            found["max_subscriptions"] = self.max_subscriptions
        if "max_payload" in self.model_fields_set:
            found["max_payload"] = self.max_payload
        return found


class UserItem(BaseModel):
    """A user in a list."""

    id: str
    username: str
    token: str
    kind: Literal["email", "service"]
    state: Literal["active", "disabled"]
    roles: list[str]
    max_subscriptions: int | None
    max_payload: int | None
    version: int
    created_at: datetime
    last_login_at: datetime | None
    disabled_at: datetime | None


class UserPage(BaseModel):
    """A page of users."""

    items: list[UserItem]
    next_cursor: str | None


class UserCounts(BaseModel):
    """How much belongs to a user."""

    credentials: int
    active_credentials: int
    grants: int
    apps: int


class UserAnswer(UserItem):
    """A user."""

    counts: UserCounts


class UserChange(UserItem):
    """A user who was just changed."""

    propagation: Propagation


class UserDeleted(BaseModel):
    """A user who is gone."""

    id: str
    username: str
    propagation: Propagation


class AssignmentRequest(BaseModel):
    """The optional body of issuing for a user."""

    model_config = ConfigDict(extra="forbid", strict=True)

    public_key: Annotated[
        str | None,
        Field(max_length=64, description="The user's nkey, U...; the service makes one if null."),
    ] = None
    name: Annotated[
        str | None,
        Field(max_length=200, pattern=PLAIN, description="What it is called."),
    ] = None
    ttl: Annotated[
        int | None,
        Field(ge=1, le=10**9, description="A shorter life in seconds; longer is cut."),
    ] = None
    app: Annotated[
        str | None, Field(max_length=64, description="Narrow the credential to this one app.")
    ] = None


class AssignmentAnswer(CredentialAnswer):
    """A credential as it is handed over; the last two only where the service made the key."""

    seed: str | None = None
    creds: str | None = None


class RevokedCredential(CredentialItem):
    """A credential that was just revoked."""

    propagation: Propagation


class RevokeRequest(BaseModel):
    """The optional body of revoking all of a user."""

    model_config = ConfigDict(extra="forbid", strict=True)

    issued_before: Annotated[
        Moment | None,
        Field(description="Only credentials first issued before this moment (RFC 3339)."),
    ] = None


class RevokedAll(BaseModel):
    """How many credentials were just revoked."""

    revoked: int
    propagation: Propagation


class ImportResult(BaseModel):
    """What became of one line."""

    line: int
    status: Literal["created", "exists", "invalid", "failed"]
    id: str | None
    username: str | None
    error: str | None


def user_json(user: User, counts: Counts | None = None) -> dict[str, Any]:
    """A user as ``UserItem``, or with counts as ``UserAnswer``."""
    found = {
        "id": user.id,
        "username": user.username,
        "token": user.token,
        "kind": user.kind,
        "state": "active" if user.disabled_at is None else "disabled",
        "roles": user.roles,
        "max_subscriptions": user.max_subscriptions,
        "max_payload": user.max_payload,
        "version": user.version,
        "created_at": rfc3339(user.created_at),
        "last_login_at": rfc3339(user.last_login_at),
        "disabled_at": rfc3339(user.disabled_at),
    }
    return found if counts is None else {**found, "counts": counts._asdict()}
