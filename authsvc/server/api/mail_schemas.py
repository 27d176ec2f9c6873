"""Apps, mailboxes and dead letters as they go in and out over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from authsvc.server.api.schemas import rfc3339
from authsvc.server.mailboxes import MailboxChanges
from authsvc.server.models import App, DeadLetter, Mailbox
from authsvc.server.provision.mail_reconcile import Settled

__all__ = [
    "AppChange",
    "AppItem",
    "AppPage",
    "AppRegistered",
    "AppRequest",
    "LetterItem",
    "LetterPage",
    "MailboxAnswer",
    "MailboxChange",
    "MailboxRequest",
    "Requeued",
    "app_json",
    "letter_json",
    "mailbox_json",
    "settled_json",
]

_MIN_AGE, _MAX_AGE = 60, 90 * 86400
_MAX_PENDING = 10_000


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class AppRequest(_Request):
    """The body of ``PUT /v1/me/apps/{app}``; what is left out stays as it is."""

    offline: Annotated[bool | None, Field(description="Whether requests wait for the app.")] = None


class MailboxRequest(_Request):
    """The body of ``PUT /v1/me/mailbox``; what is left out stays as it is."""

    responses: Annotated[bool | None, Field(description="Whether responses are kept.")] = None
    max_age: Annotated[
        int | None,
        Field(ge=_MIN_AGE, le=_MAX_AGE, description="Seconds that a message is kept."),
    ] = None
    max_pending: Annotated[
        int | None,
        Field(
            ge=1,
            le=_MAX_PENDING,
            description="Requests that may wait of one requester for one app.",
        ),
    ] = None

    def changes(self) -> MailboxChanges:
        """What is to be another."""
        found: Any = self.model_dump(exclude_none=True)
        changes: MailboxChanges = found
        return changes


class Settling(BaseModel):
    """Whether nats-server has a change."""

    state: Literal["applied", "pending"]
    servers: list[str]
    detail: str


class AppItem(BaseModel):
    """An app that a user offers."""

    id: str
    name: str
    token: str
    offline: bool
    created_at: datetime


class AppChange(AppItem):
    """An app that was changed."""

    propagation: Settling


class AppRegistered(AppChange):
    """An app that was registered."""

    unacknowledged: Annotated[
        int | None,
        Field(description="Requests that were handed out and not acknowledged, if known."),
    ]


class AppPage(BaseModel):
    """Apps, the oldest first."""

    items: list[AppItem]
    next_cursor: str | None


class MailboxAnswer(BaseModel):
    """A mailbox."""

    responses: bool
    max_age: int
    max_pending: int


class MailboxChange(MailboxAnswer):
    """A mailbox that was changed."""

    propagation: Settling


class LetterItem(BaseModel):
    """A request that was handed out as often as it may, and never acknowledged."""

    id: str
    app: str
    requester: str
    request_id: str | None
    method: str | None
    target: str | None
    size: int
    deliveries: int
    submitted_at: datetime
    deadline: datetime | None
    died_at: datetime
    expires_at: datetime


class LetterPage(BaseModel):
    """Dead letters, the newest first."""

    items: list[LetterItem]
    next_cursor: str | None


class Requeued(LetterItem):
    """A dead letter that was put back."""

    requeued: Literal[True]


def app_json(app: App) -> dict[str, Any]:
    """An app as it is answered."""
    return {
        "id": app.id,
        "name": app.name,
        "token": app.token,
        "offline": app.offline,
        "created_at": rfc3339(app.created_at),
    }


def mailbox_json(mailbox: Mailbox) -> dict[str, Any]:
    """A mailbox as it is answered."""
    return {
        "responses": mailbox.responses,
        "max_age": mailbox.max_age,
        "max_pending": mailbox.max_pending,
    }


def letter_json(letter: DeadLetter) -> dict[str, Any]:
    """A dead letter as it is answered, without its payload."""
    return {
        "id": letter.id,
        "app": letter.app,
        "requester": letter.requester,
        "request_id": letter.request_id or None,
        "method": letter.method or None,
        "target": letter.target or None,
        "size": letter.size,
        "deliveries": letter.deliveries,
        "submitted_at": rfc3339(letter.submitted_at),
        "deadline": rfc3339(letter.deadline or None),
        "died_at": rfc3339(letter.died_at),
        "expires_at": rfc3339(letter.expires_at),
    }


def settled_json(settled: Settled) -> dict[str, Any]:
    """How far a change has come, in the shape that every change is answered with."""
    return {"state": settled.state, "servers": [], "detail": settled.detail}
