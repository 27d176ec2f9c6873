"""Ways in which a user makes nats-server itself publish to a subject that the user may not use.

Each trigger is something the user may do, with a reply subject that belongs to somebody else:
reply subjects are not checked against permissions. In one account the server's own answer then
acts on the JetStream API, or is stored in another's name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from authsvc import subjects
from tests.security.mailboxes import Mailboxes
from tests.security.raw import Heard, RawClient

ALICE, MALLORY, CAROL = "alice@example.com", "mallory@example.com", "carol@example.com"
A, M, C = (subjects.token(name) for name in (ALICE, MALLORY, CAROL))
ID = "0123456789abcdef0123456789abcdef"
MARK = b"chosen by mallory"
WAITING = 3


@dataclass
class Stage:
    """Alice, with stored messages; mallory, with streams and an empty consumer; carol.

    Args:
        prefix: Where people find the JetStream API: ``$JS.mail.API``, or ``$JS.API`` where
            people and streams share an account.
    """

    prefix: str
    mailboxes: Mailboxes
    alice: RawClient
    mallory: RawClient
    carol: RawClient
    in_flight: str = ""

    async def set(self, replicas: int = 1) -> None:
        """Streams made anew, with what the attacks need in them."""
        for name in (ALICE, MALLORY):
            await self.mailboxes.remove(name)
        await self.mailboxes.make(ALICE, replicas=replicas)
        await self.mailboxes.make(MALLORY, "chat", "empty", replicas=replicas)
        for client, token in ((self.alice, A), (self.mallory, M), (self.carol, C)):
            client.subscribe(f"_INBOX.{token}.>")
        for _ in range(WAITING):
            await self.carol.ask(f"requests.{C}.{A}.chat.stored", b"hello", f"_INBOX.{C}.ack")
        await self.carol.ask(f"responses.{A}.{C}.chat.{ID}.stored", b"answer", f"_INBOX.{C}.ack")
        await self.mallory.ask(f"responses.{M}.{M}.chat.{ID}.stored", MARK, f"_INBOX.{M}.ack")
        # One of alice's requests is being handled: its ack subject is what an attacker may guess.
        self.in_flight = (await self.pull(self.alice, A)).reply

    async def pull(self, client: RawClient, token: str) -> Heard:
        """The user's next stored request."""
        subject = f"{self.prefix}.CONSUMER.MSG.NEXT.requests_{token}.chat"
        return await client.ask(subject, b'{"batch":1,"expires":5000000000}', f"_INBOX.{token}.p")

    async def fresh(self) -> Heard:
        """A request of mallory's own that mallory handles."""
        await self.submit()
        return await self.pull(self.mallory, M)

    async def submit(self) -> None:
        """A stored request from mallory to mallory."""
        await self.mallory.ask(f"requests.{M}.{M}.chat.stored", MARK, f"_INBOX.{M}.ack")

    def next(self, app: str, body: bytes, reply: str) -> None:
        """Mallory asks for stored requests."""
        subject = f"{self.prefix}.CONSUMER.MSG.NEXT.requests_{M}.{app}"
        self.mallory.publish(subject, body, reply)


Trigger = Callable[[Stage, str], Awaitable[None]]


def _answering(word: bytes) -> Trigger:
    async def trigger(stage: Stage, reply: str) -> None:
        item = await stage.fresh()
        stage.mallory.publish(item.reply, word, reply)

    return trigger


async def _next_by_ack(stage: Stage, reply: str) -> None:
    item = await stage.fresh()
    await stage.submit()
    stage.mallory.publish(item.reply, b'+NXT {"batch":1,"no_wait":true}', reply)


async def _pull_nothing(stage: Stage, reply: str) -> None:
    stage.next("empty", b'{"batch":1,"no_wait":true}', reply)


async def _pull_until_timeout(stage: Stage, reply: str) -> None:
    stage.next("empty", b'{"batch":1,"expires":50000000}', reply)


async def _heartbeats(stage: Stage, reply: str) -> None:
    # Several of one pull: each of them is another message to the reply subject.
    stage.next("empty", b'{"batch":1,"expires":250000000,"idle_heartbeat":100000000}', reply)


async def _pull_message(stage: Stage, reply: str) -> None:
    await stage.submit()
    stage.next("chat", b'{"batch":1,"no_wait":true}', reply)


async def _malformed_pull(stage: Stage, reply: str) -> None:
    stage.next("chat", b'{"batch":-1}' + MARK, reply)


async def _publish_ack(stage: Stage, reply: str) -> None:
    stage.mallory.publish(f"requests.{M}.{M}.chat.stored", MARK, reply)


async def _user_info(stage: Stage, reply: str) -> None:
    stage.mallory.publish("$SYS.REQ.USER.INFO", MARK, reply)


async def _read(stage: Stage, reply: str) -> None:
    subject = f"{stage.prefix}.STREAM.MSG.GET.responses_{M}"
    stage.mallory.publish(subject, b'{"seq":1}', reply)


TRIGGERS: dict[str, Trigger] = {
    "ack": _answering(b"+ACK"),
    "empty ack": _answering(b""),
    "progress": _answering(b"+WPI"),
    "nak": _answering(b"-NAK"),
    "term": _answering(b"+TERM"),
    "next by ack": _next_by_ack,
    "pull nothing": _pull_nothing,
    "pull until timeout": _pull_until_timeout,
    "heartbeats": _heartbeats,
    "pull a message": _pull_message,
    "malformed pull": _malformed_pull,
    "publish ack": _publish_ack,
    "user info": _user_info,
    "read": _read,
}


ANSWERED_SECONDS = {"pull until timeout": 0.1, "heartbeats": 0.3}
"""How long after a trigger nats-server answers, where that is not at once."""

_STORE = ("forge a request", "forge a response")
_REMOVE = ("delete a stream", "purge a stream", "delete a consumer")
WORKING = {
    name: _STORE + (
        ("withhold",) if name in {"next by ack", "pull a message"}
        # Bodies with JSON of another shape are refused by the API, but only as it is strict.
        else () if name in {"publish ack", "user info", "read"}
        else _REMOVE
    )
    for name in TRIGGERS
}  # fmt: skip
"""What each trigger can do to alice where people and streams share an account."""


def targets(prefix: str) -> dict[str, str]:
    """Reply subjects that would hurt alice, by what each would do."""
    return {
        "forge a request": f"requests.{C}.{A}.chat.stored",
        "forge a response": f"responses.{A}.{C}.chat.{ID}.stored",
        "delete a stream": f"{prefix}.STREAM.DELETE.responses_{A}",
        "purge a stream": f"{prefix}.STREAM.PURGE.requests_{A}",
        "delete a consumer": f"{prefix}.CONSUMER.DELETE.requests_{A}.chat",
        "withhold": f"{prefix}.CONSUMER.MSG.NEXT.requests_{A}.chat",
    }
