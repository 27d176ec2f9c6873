"""Whose signatures count: those of nkeys whose user JWT comes from this user's own account."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple, Protocol, runtime_checkable

from authsvc import subjects
from authsvc.claims import decode_user
from authsvc.errors import ApiError, InvalidInput, Unavailable
from authsvc.nkey import Prefix, PublicKey
from authsvc.rpc._messages.message import Request
from authsvc.rpc._session.session import Session
from authsvc.rpc._wire.frames import Pairs
from authsvc.rpc._wire.signing import request_text, signature_of

__all__ = ["IssuerSource", "Trust", "Untrusted"]

_log = logging.getLogger(__name__)
_KEPT_JWTS = 1024
_LOOK_AGAIN_SECONDS = 600.0
_SOONEST_SECONDS = 5.0
_CLOCK_TOLERANCE_SECONDS = 5.0


class Untrusted(Exception):
    """A message is not signed as it must be.

    Args:
        reason: Why, without anything of the message.
        unknown: Whether only its issuer is not known; it may be, once it was asked for.
    """

    def __init__(self, reason: str, *, unknown: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unknown = unknown


@runtime_checkable
class IssuerSource(Protocol):
    """A credential source that knows which keys sign an account's user JWTs."""

    async def issuers(self, account: str) -> frozenset[str]:
        """The account's signing keys.

        Raises:
            AuthsvcError: They can't be had now.
        """


class _Sender(NamedTuple):
    """What a user JWT says, whose own signature holds."""

    key: PublicKey
    name: str
    issuer: str
    account: str
    allow: tuple[str, ...]
    not_before: int
    expires: int


class Trust:
    """Checks signatures.

    Args:
        issuers: Public account keys that are trusted besides.

    Raises:
        InvalidKey: One of them is none.
    """

    def __init__(self, issuers: Iterable[str] = ()) -> None:
        self._given = frozenset(PublicKey.parse(text, Prefix.ACCOUNT).text for text in issuers)
        self._found: frozenset[str] = frozenset()
        self._looked = -_LOOK_AGAIN_SECONDS
        self._looking: asyncio.Task[None] | None = None
        self._senders: OrderedDict[str, _Sender] = OrderedDict()
        self._session: Session | None = None
        self._source: object = None

    def begin(self, session: Session, source: object) -> None:
        """Trust what this session's own credential comes from, too."""
        self._session, self._source = session, source

    @property
    def _me(self) -> Session:
        if self._session is None:
            raise Untrusted("there is no session")
        return self._session

    def check(self, subject: str, pairs: Pairs, text: bytes, signature: bytes) -> None:
        """Whether the user whom the subject names signed the text.

        Args:
            subject: Where the message was published; of a stored one, as of a live one.
            pairs: The message's headers.
            text: What is signed.
            signature: From ``signature_of``.

        Raises:
            Untrusted: It is not so, or not known to be.
        """
        sender = self._sender(pairs[-2][1])
        # requests.{sender}.{}.{} and responses.{}.{sender}.{}.{}
        if sender.name != subject.split(".")[1 if subject.startswith("requests.") else 2]:
            raise Untrusted("the user JWT is another user's than the subject's")
        # One that is narrowed to an app speaks for no other. By a scoped key it says nothing.
        if sender.allow and not any(subjects.covers(entry, subject) for entry in sender.allow):
            raise Untrusted("the user JWT does not allow the subject")
        now = time.time()
        if sender.expires and now > sender.expires + _CLOCK_TOLERANCE_SECONDS:
            raise Untrusted("the user JWT has expired")
        if now < sender.not_before - _CLOCK_TOLERANCE_SECONDS:
            raise Untrusted("the user JWT is not valid yet")
        if not sender.key.verify(text, signature):
            raise Untrusted("the signature does not hold")
        mine = self._sender(self._me.login.jwt)
        if sender.account != mine.account:
            raise Untrusted("the user JWT is of another account")
        known = {mine.issuer, mine.account} | self._given | self._found
        # What was found goes stale: a key that was taken out of the account counts no more.
        stale = time.monotonic() - self._looked > _LOOK_AGAIN_SECONDS
        if sender.issuer not in known or (stale and sender.issuer in self._found):
            raise Untrusted("the issuer of the user JWT is not known", unknown=True)

    def key_of(self, pairs: Pairs) -> PublicKey:
        """The nkey of who sent a message that was checked."""
        return self._sender(pairs[-2][1]).key

    async def look(self) -> None:
        """Ask authsvc for the account's signing keys, unless that was done just now."""
        if self._looking is None:
            if time.monotonic() - self._looked < _SOONEST_SECONDS:
                return
            self._looking = asyncio.create_task(self._look())
        # One question for all who ask meanwhile.
        await asyncio.shield(self._looking)

    async def _look(self) -> None:
        try:
            if isinstance(self._source, IssuerSource):
                account = self._sender(self._me.login.jwt).account
                self._found = await self._source.issuers(account)
        except (ApiError, Unavailable, InvalidInput) as error:
            _log.warning("the account's signing keys can't be had: %s", error)
        finally:
            self._looked, self._looking = time.monotonic(), None

    async def verify(self, request: Request) -> None:
        """Whether a request is signed by its requester.

        Raises:
            Untrusted: It is not.
        """
        subject = self.subject_of(request)
        pairs = request.pairs
        try:
            _, signature = signature_of(pairs)
            text = request_text(
                subject, request.id, request.sent, request.deadline, request.method,
                request.target, pairs, request.content,
            )  # fmt: skip
        except InvalidInput as error:
            raise Untrusted(str(error)) from error
        await self.agree(subject, pairs, text, signature)

    def subject_of(self, request: Request) -> str:
        """Where a request was published; of a stored one, as of a live one."""
        me = self._me.login.username
        return subjects.Request(request.requester, me, request.app).text

    async def agree(self, subject: str, pairs: Pairs, text: bytes, signature: bytes) -> None:
        """``check``, which asks authsvc first for an issuer that is not known.

        Raises:
            Untrusted: It is not so.
        """
        try:
            self.check(subject, pairs, text, signature)
        except Untrusted as refusal:
            if not refusal.unknown:
                raise
            await self.look()
            self.check(subject, pairs, text, signature)

    def _sender(self, jwt: str) -> _Sender:
        found = self._senders.get(jwt)
        if found is not None:
            self._senders.move_to_end(jwt)
            return found
        try:
            claims = decode_user(jwt)
            key = PublicKey.parse(claims.subject, Prefix.USER)
        except InvalidInput as error:
            raise Untrusted("the user JWT does not hold") from error
        account = claims.issuer_account or claims.issuer
        found = self._senders[jwt] = _Sender(
            key, claims.name, claims.issuer, account, claims.permissions.publish.allow,
            claims.not_before, claims.expires,
        )  # fmt: skip
        if len(self._senders) > _KEPT_JWTS:
            self._senders.popitem(last=False)
        return found
