"""What goes in and out over HTTP, as the OpenAPI document shows it.

Times are RFC 3339 in UTC.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from authsvc import jose
from authsvc.server.models import Credential
from authsvc.server.provision import reconcile
from authsvc.server.sessions import Issued, credential_state

__all__ = [
    "PLAIN",
    "PROOF",
    "SECURITY_SCHEMES",
    "CredentialAnswer",
    "CredentialItem",
    "CredentialPage",
    "CredentialRequest",
    "Discovery",
    "Me",
    "Moment",
    "ProblemDocument",
    "Propagation",
    "Revoked",
    "issued_json",
    "item_json",
    "propagation_json",
    "rfc3339",
]

PLAIN = r"^[^\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]*$"
"""A text without control characters and marks of direction: a terminal would obey the ones, by the
others it reads as what it isn't; and PostgreSQL keeps no NUL."""

_MIN_TTL = 1
_RFC3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}", re.ASCII)


def _written(given: object) -> object:
    # pydantic reads digits as seconds since the epoch: 20260131 would be a day in 1970.
    if not isinstance(given, str) or not _RFC3339.match(given):
        raise ValueError("RFC 3339 is needed, such as 2026-01-31T12:00:00Z")
    return given


Moment = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_written)]
"""A time that a request names."""

SECURITY_SCHEMES: dict[str, Any] = {
    "identity": {
        "type": "http",
        "scheme": "bearer",
        "description": "An identity token, such as a SyftBox access token, with a DPoP proof.",
    },
    "credential": {
        "type": "http",
        "scheme": "dpop",
        "description": "The NATS user JWT, with a DPoP proof by its nkey.",
    },
    "api_key": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key; `x-scope` of a route says which scope it needs.",
    },
}
"""What ``security`` of a route may name, for the OpenAPI document."""

PROOF: dict[str, Any] = {
    "parameters": [
        {
            "name": "DPoP",
            "in": "header",
            "required": True,
            "description": "Proof of possession by the user's nkey (RFC 9449).",
            "schema": {"type": "string"},
        }
    ]
}
"""The header that every route for users needs, for the OpenAPI document."""


def rfc3339(seconds: float | None) -> str | None:
    """A time as RFC 3339 in UTC, whole seconds."""
    return None if seconds is None else _second(int(seconds))


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    # Answers of one second share their times.
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class CredentialRequest(BaseModel):
    """The optional body of ``POST /v1/credentials``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[
        str | None,
        Field(max_length=200, pattern=PLAIN, description="What you call it."),
    ] = None
    ttl: Annotated[
        int | None,
        Field(ge=_MIN_TTL, le=10**9, description="A shorter life in seconds; longer is cut."),
    ] = None
    method: Annotated[str | None, Field(max_length=64, description="The login method.")] = None
    app: Annotated[
        str | None, Field(max_length=64, description="Narrow the credential to this one app.")
    ] = None
    username: Annotated[
        str | None,
        Field(
            max_length=512,
            description="Who you are; needed where an enrolment key is for several users.",
        ),
    ] = None


class CredentialAnswer(BaseModel):
    """A credential as it is handed over."""

    id: str
    username: str
    subject_token: str
    public_key: str
    account: str
    name: str
    app: str | None
    jwt: str
    servers: list[str]
    inbox_prefix: str
    issued_at: datetime
    expires_at: datetime
    expires_in: int
    renew_after: datetime
    renew_in: int


class CredentialItem(BaseModel):
    """A credential in a list; its JWT is not shown again."""

    id: str
    username: str
    public_key: str
    name: str
    app: str | None
    method: str
    state: Literal["active", "expired", "revoked"]
    created_at: datetime
    login_at: datetime
    issued_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


class CredentialPage(BaseModel):
    """A page of credentials."""

    items: list[CredentialItem]
    next_cursor: str | None


class ServerHolding(BaseModel):
    """One nats-server and whether it holds the change."""

    id: str
    name: str
    applied: bool


class Propagation(BaseModel):
    """How far a change has come among the nats-servers."""

    state: Literal["applied", "pending"]
    servers: list[ServerHolding]


class Revoked(CredentialItem):
    """A credential that was just revoked."""

    propagation: Propagation


class AllowLists(BaseModel):
    """What may be published and subscribed."""

    publish: list[str]
    subscribe: list[str]


class AppItem(BaseModel):
    """An app that the user registered."""

    name: str
    token: str
    offline: bool


class Me(BaseModel):
    """Who asks, and what they may do."""

    username: str
    token: str
    permissions: AllowLists
    apps: list[AppItem]


class LoginMethodItem(BaseModel):
    """A way to log in."""

    model_config = ConfigDict(extra="allow")

    name: str


class Sentinel(BaseModel):
    """What a client shows nats-server that comes without a user JWT of its own; it is public."""

    sentinel: str
    creds: str


class Discovery(BaseModel):
    """``/.well-known/authsvc``; ``callout`` only where clients may log in to nats-server."""

    version: str
    public_url: str
    operator: str
    account: str
    servers: list[str]
    login_methods: list[LoginMethodItem]
    callout: Sentinel | None = None


class ProblemDocument(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[dict[str, str]] | None = None


def issued_json(issued: Issued, servers: list[str], now: float) -> bytes:
    """A credential as it is handed over; ``CredentialAnswer`` in bytes.

    Args:
        issued: The committed credential.
        servers: What clients are told to connect to.
        now: Seconds since the epoch.
    """
    return jose.dumps(
        {
            "id": issued.id,
            "username": issued.username,
            "subject_token": issued.token,
            "public_key": issued.public_key,
            "account": issued.account,
            "name": issued.name,
            "app": issued.app,
            "jwt": issued.jwt,
            "servers": servers,
            "inbox_prefix": f"_INBOX.{issued.token}",
            "issued_at": rfc3339(issued.issued_at),
            "expires_at": rfc3339(issued.expires_at),
            "expires_in": max(0, int(issued.expires_at - now)),
            "renew_after": rfc3339(issued.renew_after),
            "renew_in": max(0, int(issued.renew_after - now)),
        }
    )


def item_json(credential: Credential, username: str, now: float) -> dict[str, Any]:
    """A credential as listed; ``CredentialItem`` as a dict."""
    return {
        "id": credential.id,
        "username": username,
        "public_key": credential.public_key,
        "name": credential.name,
        "app": credential.app,
        "method": credential.method,
        "state": credential_state(credential, now),
        "created_at": rfc3339(credential.created_at),
        "login_at": rfc3339(credential.login_at),
        "issued_at": rfc3339(credential.issued_at),
        "expires_at": rfc3339(credential.expires_at),
        "last_used_at": rfc3339(credential.last_used_at),
        "revoked_at": rfc3339(credential.revoked_at),
    }


def propagation_json(propagation: reconcile.Propagation) -> dict[str, Any]:
    """How far a change has come, as answers have it."""
    return {
        "state": propagation.state,
        "servers": [
            {"id": held.id, "name": held.name, "applied": held.applied}
            for held in propagation.servers
        ],
    }
