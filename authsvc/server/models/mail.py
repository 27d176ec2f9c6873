"""Requests that wait: whose mailbox is how large, and what nobody could handle."""

from __future__ import annotations

from sqlalchemy import LargeBinary, UniqueConstraint
from sqlmodel import Field

from authsvc.server.models.base import Row, Seconds

__all__ = ["DeadLetter", "Mailbox"]


class Mailbox(Row, table=True):
    """What a user's two streams shall be; the apps that take stored requests are ``App`` rows."""

    __tablename__ = "mailboxes"

    user_id: str = Field(primary_key=True, foreign_key="users.id", ondelete="CASCADE")
    responses: bool = False
    """Whether responses are kept."""
    max_age: int = Field(sa_type=Seconds)
    """Seconds that a message is kept."""
    max_pending: int
    """Requests that may wait of one requester for one app."""
    streams: int = Field(default=0, index=True)
    """How many of the two streams are wanted."""
    revision: int = 1
    """Rises with each change that nats-server must learn of."""
    applied: int = 0
    """The revision that nats-server has."""
    created_at: int = Field(sa_type=Seconds)


class DeadLetter(Row, table=True):
    """A stored request that was handed out as often as it may, and never acknowledged."""

    __tablename__ = "dead_letters"
    __table_args__ = (UniqueConstraint("user_id", "mark"),)

    id: str = Field(primary_key=True)
    user_id: str = Field(foreign_key="users.id", ondelete="CASCADE")
    """Whose app it was for."""
    mark: str
    """The message's number in its stream and its time: who finds it twice, keeps one."""
    app: str
    requester: str
    subject: str
    request_id: str = ""
    """Empty where the message is not in our wire format."""
    method: str = ""
    target: str = ""
    deliveries: int
    submitted_at: int = Field(sa_type=Seconds)
    deadline: int = Field(default=0, sa_type=Seconds)
    """Seconds since the epoch; 0 where it is not known."""
    died_at: int = Field(sa_type=Seconds)
    expires_at: int = Field(sa_type=Seconds, index=True)
    """When the letter is forgotten."""
    size: int
    """Bytes of the payload."""
    payload: bytes = Field(sa_type=LargeBinary, repr=False)
    claimed_at: int = Field(default=0, sa_type=Seconds)
    """When somebody began to put it back; 0 if nobody does."""
