"""Stored requests that were handed out as often as they may: kept for their owner, and answered.

    letters = DeadLetters(database, postmaster, herald, bounds)
    letters.start()

nats-server tells it once, when a message won't be handed out again, and leaves the message in the
stream. A stream of its own keeps what it tells (see ``mail_streams``), and each piece of news goes
to one replica, again and again until one acknowledges it. All of what follows from it can be done
twice.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

import orjson
import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlmodel import col

from authsvc.errors import AuthsvcError, InvalidSubject, Unavailable
from authsvc.server import metrics
from authsvc.server.database import Database
from authsvc.server.models import DeadLetter, Mailbox, User, new_id
from authsvc.server.policy import stream_names
from authsvc.server.provision.frames import error_response, read_request
from authsvc.server.provision.jetstream import JetStream, JetStreamRefused
from authsvc.server.provision.letter_room import make_room
from authsvc.server.provision.mail_streams import ADVISORIES, DEAD_LETTERS
from authsvc.server.provision.tasks import end
from authsvc.subjects import Request

__all__ = ["STATUS", "DeadLetters"]

STATUS = 500
"""What the requester is answered."""
_PULL_SECONDS = 20
_PAUSE_SECONDS = 2.0
_ANSWER_SECONDS = 2.0
_PULL = orjson.dumps({"batch": 1, "expires": _PULL_SECONDS * 1_000_000_000})
_LATER = b"-NAK " + orjson.dumps({"delay": int(_PAUSE_SECONDS * 1_000_000_000)})
_NEXT = f"$JS.API.CONSUMER.MSG.NEXT.{ADVISORIES}.{DEAD_LETTERS}"
_KIND = "io.nats.jetstream.advisory.v1.max_deliver"
_TEXT = "the responder took the request {} times and never acknowledged it"
log = structlog.get_logger("authsvc.mail")


class DeadLetters:
    """Waits for dead letters.

    Args:
        database: Keeps them.
        postmaster: MAIL's JetStream, as the user who takes single messages out.
        herald: People's account, as the user who answers.
        max_bytes: Of all dead letters of one user; the oldest make room.
    """

    def __init__(
        self, database: Database, postmaster: JetStream, herald: JetStream, max_bytes: int
    ) -> None:
        self._database = database
        self._postmaster = postmaster
        self._herald = herald
        self._max_bytes = max_bytes
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="authsvc-dead-letters")

    async def stop(self) -> None:
        """End; a letter that is being taken out is taken out by the next who looks."""
        if self._task is not None:
            await end([self._task])

    async def put_back(self, letter: DeadLetter) -> None:
        """Publish a request again, for its app to take.

        Args:
            letter: With its payload.

        Raises:
            JetStreamRefused: The stream does not take it; ``code`` says why.
            Unavailable: No stream has its subject, or nats-server does not answer.
        """
        # Two who do the same at once put it back once.
        headers = {"Nats-Msg-Id": letter.id}
        try:
            message = await self._postmaster.client.request(
                letter.subject, letter.payload, timeout=_ANSWER_SECONDS, headers=headers
            )
            answer = orjson.loads(message.data)
        except (NatsError, OSError, TimeoutError, orjson.JSONDecodeError) as error:
            raise Unavailable("the request could not be put back; try again") from error
        if answer.get("error"):
            raise JetStreamRefused(letter.subject, answer["error"])

    async def _run(self) -> None:
        said = ""
        while True:
            try:
                message = await self._next()
                if message is not None:
                    await self._take(message)
                said = ""
            except (AuthsvcError, NatsError, OSError, TimeoutError) as error:
                text = str(error) or type(error).__name__
                if text != said:
                    log.info("no dead letters for now", reason=text)
                said = text
                await asyncio.sleep(_PAUSE_SECONDS)
            except Exception as error:
                log.exception("dead letter not taken", error=type(error).__name__)
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _next(self) -> Msg | None:
        """The next piece of news; None where there is none for a while."""
        # The old style: nats-py's other one knows an answer by its subject, and this has its own.
        message: Msg = await self._postmaster.client.request(
            _NEXT, _PULL, timeout=_PULL_SECONDS + 5, old_style=True
        )
        if message.headers and "Status" in message.headers:
            if message.headers["Status"] in {"404", "408"}:
                return None
            raise Unavailable(f"no dead letters: status {message.headers['Status']}")
        return message

    async def _take(self, news: Msg) -> None:
        acknowledge = partial(self._postmaster.client.publish, news.reply)
        try:
            await self._act_on(news)
        except Exception:
            # Else it would come again only when nobody can acknowledge it any more.
            with contextlib.suppress(NatsError, OSError):
                await acknowledge(_LATER)
            raise
        await acknowledge(b"+ACK")

    async def _act_on(self, news: Msg) -> None:
        try:
            told: dict[str, Any] = orjson.loads(news.data)
            stream, seq = str(told["stream"]), int(told["stream_seq"])
            deliveries = int(told["deliveries"])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            told, stream = {}, ""
        if told.get("type") == _KIND and stream.startswith("requests_"):
            found = await self._postmaster.find(f"STREAM.MSG.GET.{stream}", {"seq": seq})
            # It may have been acknowledged late, or was taken out by who looked before.
            if found is not None:
                await self._take_out(stream, found["message"], deliveries)

    async def _take_out(self, stream: str, message: Mapping[str, Any], deliveries: int) -> None:
        seq = int(message["seq"])
        letter = await self._keep(stream, message, deliveries)
        if letter is not None and letter.request_id:
            await self._answer(letter)
        await self._postmaster.find(f"STREAM.MSG.DELETE.{stream}", {"seq": seq, "no_erase": True})

    async def _keep(
        self, stream: str, message: Mapping[str, Any], deliveries: int
    ) -> DeadLetter | None:
        """Write the letter down, once; None where nobody is there to have it."""
        try:
            request = Request.parse(message["subject"])
        except InvalidSubject:
            return None
        payload = base64.b64decode(message.get("data") or "")
        try:
            async with self._database.writing() as session:
                row = (
                    await session.execute(
                        select(col(User.id), col(User.token), col(Mailbox.max_age))
                        .join(Mailbox, col(Mailbox.user_id) == col(User.id))
                        .where(col(User.username) == request.responder)
                        .with_for_update(of=User)
                    )
                ).one_or_none()
                if row is None or stream_names(row.token)[0] != stream:
                    return None
                letter = _letter(row.id, row.max_age, request, message, payload, deliveries)
                await make_room(session, letter, self._max_bytes)
                session.add(letter)
        except IntegrityError:
            return letter  # it is there
        metrics.DEAD_LETTERS.inc()
        log.info("dead letter", user=letter.user_id, app=letter.app, letter=letter.id)
        return letter

    async def _answer(self, letter: DeadLetter) -> None:
        request = Request.parse(letter.subject)
        subject = request.response(letter.request_id).text
        content = error_response(letter.request_id, STATUS, _TEXT.format(letter.deliveries))
        try:
            # A receipt comes where the requester's mailbox keeps it. Who only listens gives none.
            await self._herald.client.request(subject, content, timeout=_ANSWER_SECONDS)
        except (NoRespondersError, TimeoutError):
            await self._herald.client.flush(timeout=2)


def _letter(  # noqa: PLR0917 - all that a letter is made from
    user_id: str,
    max_age: int,
    request: Request,
    message: Mapping[str, Any],
    payload: bytes,
    deliveries: int,
) -> DeadLetter:
    now = int(time.time())
    line = read_request(payload)
    return DeadLetter(
        id=new_id("ded"),
        user_id=user_id,
        mark=f"{message['seq']} {message['time']}",
        app=request.app,
        requester=request.requester,
        subject=message["subject"],
        request_id=line.id if line else "",
        method=line.method if line else "",
        target=line.target if line else "",
        deliveries=deliveries,
        submitted_at=_seconds(message["time"]),
        deadline=line.deadline // 1000 if line else 0,
        died_at=now,
        expires_at=now + max_age,
        size=len(payload),
        payload=payload,
    )


def _seconds(text: str) -> int:
    """A time as nats-server writes it, with nanoseconds."""
    return int(datetime.fromisoformat(text[:19] + "+00:00").timestamp())
