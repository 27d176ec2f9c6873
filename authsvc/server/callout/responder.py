"""The service's connection to DOOR: it hears nats-server's questions and answers them.

    responder = Responder(running, door, urls)
    await responder.start()
    responder.fault()       # why nobody can be let in now; None if all is well

A refusal says nothing but that it is one; why, stands in our log. While the service is down
nobody answers, so nobody comes in this way, and clients with a JWT of their own notice nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from urllib.parse import urlsplit

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from authsvc import subjects
from authsvc.claims import AuthorizationResponseClaims, encode
from authsvc.errors import (
    AuthenticationFailed,
    AuthsvcError,
    InvalidInput,
    InvalidToken,
    Unavailable,
)
from authsvc.nkey import KeyPair
from authsvc.server import metrics
from authsvc.server.callout.question import Question, read_question
from authsvc.server.login import DevLogin, Identity, LoginMethod, claimed_identity, method_for
from authsvc.server.provision.callout_claims import ASK_SUBJECT, CALLOUT_USER, QUEUE
from authsvc.server.provision.config import is_loopback
from authsvc.server.provision.connection import Connection
from authsvc.server.provision.door import Door, open_door
from authsvc.server.running import Running
from authsvc.server.sessions import Admission, Issued, cut_late_admissions
from authsvc.server.sessions.signing import SigningDesk
from authsvc.server.tls import Trust

__all__ = ["REFUSAL", "Responder"]

REFUSAL = "authorization refused"
"""All that nats-server's log and the client are told."""
_AT_ONCE = 64
_WAITING = 1024
_TEND_SECONDS = 1.0
_LATE_SECONDS = 1.0
_REFUSED = metrics.REFUSED.labels("callout")

log = structlog.get_logger("authsvc.callout")


class Responder:
    """Answers nats-server's questions about clients.

    Args:
        running: The open service.
        door: The account's keys.
        urls: Of the nats-servers.
        trust: For connections by TLS; the system's authorities if None.
    """

    def __init__(
        self, running: Running, door: Door, urls: Sequence[str], trust: Trust | None = None
    ) -> None:
        self._trust = trust
        self._running = running
        self._door = door
        self._urls = list(urls)
        self._local = all(is_loopback(urlsplit(url).hostname or "") for url in self._urls)
        self._signing = SigningDesk(running.keystore, door.account_id, door.account)
        # Read once a second and not for each answer: a refusal shall cost no query.
        self._signer: KeyPair | None = None
        self._connection = self._connect()
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._admitted: deque[tuple[float, str]] = deque()
        self._tending: asyncio.Task[None] | None = None

    def fault(self) -> str | None:
        """Why questions can't be heard now; None if they can."""
        return None if self._connection.client else self._connection.error or "not connected yet"

    async def start(self, wait: float = 2.0) -> None:
        """Begin to listen; it goes on in the background.

        Args:
            wait: Seconds to wait for the connection.
        """
        await self._connection.open(wait)
        self._tending = asyncio.create_task(self._tend(), name="authsvc-callout")

    async def stop(self) -> None:
        """End; questions that are being answered are given up."""
        if self._tending is not None:
            self._tending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._tending
        await self._connection.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connect(self) -> Connection:
        return Connection(
            self._urls,
            self._door.user_jwt,
            self._door.user_key,
            name=CALLOUT_USER,
            on_open=self._opened,
            tls=self._trust,
        )

    async def _opened(self, client: Client) -> None:
        async def hear(message: Msg) -> None:
            # nats-py waits for each callback before the next.
            if len(self._tasks) >= _WAITING:
                log.warning("too many questions wait", waiting=_WAITING)
                return
            task = asyncio.create_task(self._take(client, message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        await client.subscribe(ASK_SUBJECT, queue=QUEUE, cb=hear)
        await client.flush(timeout=2)

    async def _take(self, client: Client, message: Msg) -> None:
        async with self._room:
            try:
                with metrics.CALLOUT_SECONDS.time():
                    answer = await self.answer(message.data, message.headers or {}, time.time())
                    await client.publish(message.reply, answer)
            except InvalidInput as error:
                # Without a question there is nobody whom an answer could be for.
                _REFUSED.inc()
                log.warning("no question of nats-server", reason=str(error))
            except (AuthsvcError, NatsError, OSError) as error:
                log.warning("not answered", error=type(error).__name__, reason=str(error))
            except Exception as error:
                # Its text may hold what was being handled.
                log.exception("not answered", error=type(error).__name__)

    async def answer(self, data: bytes, headers: dict[str, str], now: float) -> bytes:
        """The sealed answer to a question.

        Args:
            data: The question's message.
            headers: Its headers.
            now: Seconds since the epoch.

        Raises:
            InvalidInput: It is no question.
            Unavailable: No answer can be signed.
        """
        question = read_question(
            data, headers, xkey=self._door.xkey, account=self._door.account, now=now
        )
        issued = await self._decide(question, now)
        claims = AuthorizationResponseClaims(
            subject=question.user_nkey.text,
            audience=question.server,
            issuer_account=self._door.account,
            jwt=issued.jwt if issued else "",
            error="" if issued else REFUSAL,
            issued_at=int(now),
        )
        sealed = self._door.xkey.seal(
            encode(claims, self._signer or await self._read_signer()).encode(), question.xkey
        )
        if issued:
            metrics.ISSUED.labels("callout", "").inc()
            self._admitted.append((question.expires_at + _LATE_SECONDS, issued.id))
        return sealed

    async def _decide(self, question: Question, now: float) -> Issued | None:
        try:
            identity, attempt = await self._identify(question, now)
            return await self._running.desk.order(
                Admission(
                    identity=identity,
                    key=question.user_nkey,
                    server=question.server_name,
                    name=question.client,
                    attempt=attempt,
                    request_id=secrets.token_hex(16),
                    address=question.address,
                    now=now,
                )
            )
        except AuthsvcError as error:
            _REFUSED.inc()
            reason = error.reason if isinstance(error, AuthenticationFailed) else str(error)
            say = log.error if isinstance(error, Unavailable) else log.info
            say("refused", kind=type(error).__name__, reason=reason, address=question.address)
        except Exception as error:
            _REFUSED.inc()
            log.exception("refused", error=type(error).__name__)
        return None

    async def _identify(self, question: Question, now: float) -> tuple[Identity, bytes | None]:
        token = question.token()
        methods = self._running.methods
        method: LoginMethod | None = methods.get(question.user) or method_for(methods, token)
        if method is None:
            raise InvalidToken("callout: no login method is configured")
        if isinstance(method, DevLogin) and not (self._local and is_loopback(question.address)):
            raise InvalidToken("callout: dev login is for this machine alone")
        # Failures only: after an outage all who are behind one address come back at once.
        attempt = await self._running.attempts.begin(
            question.address,
            partial(claimed_identity, method, token),
            secrets.token_hex(16),
            now,
            rated=False,
        )
        try:
            identity = await method.verify(token, now)
        except InvalidToken:
            await attempt.failed()
            raise
        named = question.user
        if "@" in named and subjects.username(named, email=identity.email) != identity.username:
            raise InvalidToken("callout: the token proves another user than CONNECT names")
        if time.time() >= question.expires_at:
            raise InvalidToken("callout: nats-server waits no longer")
        return identity, attempt.mark

    async def _read_signer(self) -> KeyPair:
        async with self._running.database.reading() as session:
            self._signer = (await self._signing.read(session)).issuer.key
        return self._signer

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(_TEND_SECONDS)
            try:
                await self._look_again()
                await self._follow_rotation()
            except AuthsvcError as error:
                log.warning("callout not tended", error=str(error))
            except Exception as error:
                log.exception("callout not tended", error=type(error).__name__)

    async def _look_again(self) -> None:
        """See whether whoever was let in was revoked meanwhile."""
        due = []
        while self._admitted and self._admitted[0][0] <= time.time():
            due.append(self._admitted.popleft())
        if not due:
            return
        people = self._running.material.people_id
        try:
            async with self._running.database.writing() as session:
                late = await cut_late_admissions(session, people, [one for _, one in due])
        except AuthsvcError:
            self._admitted.extendleft(reversed(due))
            raise
        if late:
            log.warning("revoked while nats-server let them in", connections=late)
            self._running.reconciler.nudge()

    async def _follow_rotation(self) -> None:
        """Come back with a new JWT when another key signs for the account."""
        if (await self._read_signer()).public.text == self._door.signer:
            return
        async with self._running.database.reading() as session:
            self._door = await open_door(session, self._running.keystore, int(time.time()))
        old, self._connection = self._connection, self._connect()
        await self._connection.open()
        await old.close()
