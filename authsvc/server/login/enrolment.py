"""Login of machines, by an enrolment key that an administrator made.

The key says who may be enrolled by it: one user, or those whose name fits a pattern, of whom the
client names one. A use is one nkey. The nkey that enrolled logs in again with the same key, as long
as that is not revoked; for anybody else a key that is used up or over is worth nothing.
"""

from __future__ import annotations

import hashlib
import re

from sqlalchemy import func, or_, select
from sqlmodel import col

from authsvc import subjects
from authsvc.errors import Forbidden, InvalidToken
from authsvc.server.database import Database
from authsvc.server.login.identity import Identity, Ticket, proved
from authsvc.server.models import EnrolmentKey

__all__ = ["ENROLMENT_PREFIX", "EnrolmentLogin", "enrolment_digest", "fits"]

ENROLMENT_PREFIX = "authsvc_enrol_"
"""What a key begins with; a client that presents one need not name the method."""
_MAX_CHARS = 128


def enrolment_digest(text: str) -> str:
    """What is kept of a key: 256 random bits need no slow hash."""
    return hashlib.sha256(text.encode()).hexdigest()


def fits(pattern: str, username: str) -> bool:
    """Whether a canonical username fits a pattern, whose ``*`` is any text without ``@``.

    So a pattern without ``@`` never reaches whoever has an e-mail for a name.
    """
    parts = [re.escape(part) for part in re.split(r"\*+", pattern)]
    return re.fullmatch("[^@]*".join(parts), username) is not None


class EnrolmentLogin:
    """Believes whoever has an enrolment key.

    Args:
        database: Where the keys are.
    """

    name = "enrolment"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def verify(
        self,
        token: str,
        now: float,  # noqa: ARG002 - whether it is over depends on who presents it
        *,
        claimed: str | None = None,
    ) -> Identity:
        """Whom the key lets in, or of several the one that the client names.

        Whether it still works is seen to when the credential is issued, by its ticket.

        Raises:
            InvalidToken: It is no key, or a revoked one.
            InvalidName: The contract refuses the name.
            Forbidden: The key is not for that user, or none of several is named.
            StoreUnavailable: The database can't be read.
        """
        if len(token) > _MAX_CHARS or not token.startswith(ENROLMENT_PREFIX):
            raise InvalidToken("enrolment key: it is none")
        async with self._database.reading() as session:
            key = await session.scalar(
                select(EnrolmentKey).where(col(EnrolmentKey.digest) == enrolment_digest(token))
            )
        if key is None:
            raise InvalidToken("enrolment key: not known")
        if key.revoked_at is not None:
            raise InvalidToken("enrolment key: revoked")
        username = _username(key, claimed)
        return proved(
            username,
            email="@" in username,
            method=self.name,
            expires_at=None,
            ticket=Ticket("enrolment", key.id, tuple(key.tags)),
        )

    async def offered(self, now: float) -> bool:
        """Whether there is a key that works now (seconds since the epoch).

        Raises:
            StoreUnavailable: The database can't be read.
        """
        alive = (
            select(func.count())
            .select_from(EnrolmentKey)
            .where(col(EnrolmentKey.revoked_at).is_(None))
            .where(
                or_(col(EnrolmentKey.expires_at).is_(None), col(EnrolmentKey.expires_at) > int(now))
            )
        )
        async with self._database.reading() as session:
            return bool(await session.scalar(alive))

    def describe(self) -> dict[str, str]:
        """The name, and what keys begin with."""
        return {"name": self.name, "prefix": ENROLMENT_PREFIX}

    async def close(self) -> None:
        """Nothing is held."""


def _username(key: EnrolmentKey, claimed: str | None) -> str:
    wanted = None if claimed is None else subjects.username(claimed)
    if wanted is None:
        if key.username is None:
            raise Forbidden(
                f"this enrolment key is for several users: name one that fits {key.pattern!r} in "
                "the body, as username"
            )
        return key.username
    if wanted == key.username or (key.pattern is not None and fits(key.pattern, wanted)):
        return wanted
    raise Forbidden(f"this enrolment key is for {key.username or key.pattern!r} and nobody else")
