"""Headers that make nats-server do something, on stored requests and responses and on live calls.

Source: https://docs.nats.io/nats-concepts/jetstream/headers; nats-server, server/stream.go.
"""

from __future__ import annotations

from typing import Any

import pytest

from authsvc import subjects
from tests.fixtures.nats import NatsKit
from tests.security.conftest import RawConnect
from tests.security.mailboxes import Mailboxes

ALICE, MALLORY, CAROL = "alice@example.com", "mallory@example.com", "carol@example.com"
A, M, C = (subjects.token(name) for name in (ALICE, MALLORY, CAROL))
ID = "0123456789abcdef0123456789abcdef"
STREAM = f"requests_{A}"
HEADERS = {
    "roll-up of the subject": b"Nats-Rollup: sub",
    "roll-up of the stream": b"Nats-Rollup: all",
    "roll-up in capitals": b"NATS-ROLLUP: all",
    "expected stream": b"Nats-Expected-Stream: requests_x",
    "expected last id": b"Nats-Expected-Last-Msg-Id: x",
    "expected last number": b"Nats-Expected-Last-Sequence: 99",
    "expected last of a subject": b"Nats-Expected-Last-Subject-Sequence: 9",
    "time to live": b"Nats-TTL: 1s",
    "no time to live": b"Nats-TTL: never",
    "marker": b"Nats-Marker-Reason: Purge",
    "a schedule": b"Nats-Schedule: @at 2099-01-01T00:00:00Z\r\n"
    b"Nats-Schedule-Target: requests.%b.%b.chat.stored" % (C.encode(), A.encode()),
    "a schedule at once": b"Nats-Schedule: @every 1s\r\nNats-Schedule-Target: %b" % STREAM.encode(),
    "next in a schedule": b"Nats-Schedule-Next: purge",
    "a counter": b"Nats-Incr: +1",
    "a batch": b"Nats-Batch-Id: x\r\nNats-Batch-Sequence: 1\r\nNats-Batch-Commit: 1",
    "source": b"Nats-Stream-Source: requests_%b 1 > >" % A.encode(),
    "required level": b"Nats-Required-Api-Level: 9",
    "two ids": b"Nats-Msg-Id: one\r\nNats-Msg-Id: two",
    "status": b"Status: 404\r\nDescription: No Messages",
}


async def test_on_what_is_stored(nats_kit: NatsKit, raw: RawConnect, mailboxes: Mailboxes) -> None:
    """Whatever the header: what others stored stays as it was, and at most one message is added."""
    await mailboxes.remove(ALICE)
    await mailboxes.make(ALICE)
    carol, mallory = await raw(CAROL), await raw(MALLORY)
    for client, token in ((carol, C), (mallory, M)):
        client.subscribe(f"_INBOX.{token}.>")
    for number in range(3):
        await carol.ask(f"requests.{C}.{A}.chat.stored", b"%d" % number, f"_INBOX.{C}.ack")
    await carol.ask(f"responses.{A}.{C}.chat.{ID}.stored", b"answer", f"_INBOX.{C}.ack")
    for name, headers in HEADERS.items():
        before = await mailboxes.contents(ALICE)
        for subject in (
            f"requests.{M}.{A}.chat.stored",
            f"responses.{A}.{M}.chat.{ID[::-1]}.stored",
        ):
            mallory.heard.clear()
            mallory.publish(subject, b"x", f"_INBOX.{M}.ack", headers)
            await mallory.until(1)
        after = await mailboxes.contents(ALICE)
        for place in (STREAM, f"responses_{A}"):
            kept, found = _of(before, place), _of(after, place)
            assert found["first_seq"] == kept["first_seq"], (name, place)
            grown = found["messages"] - kept["messages"]
            assert 0 <= grown <= 1, (name, place, grown)
            for subject, count in kept["subjects"].items():
                if f".{M}." not in subject:
                    assert found["subjects"][subject] == count, (name, subject)
    assert await mallory.refused() == []
    # Nothing that was scheduled, aged or rolled up since: carol's own are all there.
    last = await mailboxes.contents(ALICE)
    assert _of(last, STREAM)["subjects"][f"requests.{C}.{A}.chat.stored"] == 3


def _of(contents: dict[str, object], place: str) -> dict[str, Any]:
    found = contents[place]
    assert isinstance(found, dict)
    return found


async def test_an_id_is_spent_for_nobody_else(
    nats_kit: NatsKit, raw: RawConnect, mailboxes: Mailboxes
) -> None:
    """A guessed id of a request of carol's is dropped as a duplicate, but not before it is seen.

    The id is 128 random bits that only carol and alice see; who knows it can do this once. Answers
    carry none, so that nobody can spend an answer's place.
    """
    await mailboxes.remove(ALICE)
    await mailboxes.make(ALICE)
    carol, mallory = await raw(CAROL), await raw(MALLORY)
    for client, token in ((carol, C), (mallory, M)):
        client.subscribe(f"_INBOX.{token}.>")
    guess = b"Nats-Msg-Id: 1"
    carol.publish(f"requests.{C}.{A}.chat.stored", b"x", f"_INBOX.{C}.ack", guess)
    assert b"duplicate" not in (await carol.until(1))[0].body
    mallory.publish(f"responses.{A}.{M}.chat.{ID}.stored", b"x", f"_INBOX.{M}.ack", guess)
    assert b"duplicate" not in (await mallory.until(1))[0].body
    found = _of(await mailboxes.contents(ALICE), f"requests_{A}")
    assert found["messages"] == 1


@pytest.mark.parametrize("only", [b"true", b"false"])
async def test_traces_go_nowhere_else(nats_kit: NatsKit, raw: RawConnect, only: bytes) -> None:
    """A trace's destination is a subject to publish to, and is refused where it is another's."""
    alice, mallory, carol = await raw(ALICE), await raw(MALLORY), await raw(CAROL)
    alice.subscribe(f"requests.*.{A}.>")
    carol.subscribe(f"responses.{C}.>")
    carol.subscribe(f"_INBOX.{C}.>")
    mallory.subscribe(f"_INBOX.{M}.>")
    for client in (alice, carol, mallory):
        await client.settle()
    for target in (f"responses.{C}.{A}.chat.{ID}", f"_INBOX.{C}.x", f"requests.{C}.{A}.chat"):
        headers = b"Nats-Trace-Dest: " + target.encode() + b"\r\nNats-Trace-Only: " + only
        mallory.publish(f"requests.{M}.{A}.chat", b"x", "", headers)
    await mallory.settle()
    await mallory.settle()
    for client in (alice, carol):
        await client.settle()
    # The request itself may arrive; nothing arrives for carol, and nothing in carol's name.
    assert carol.heard == []
    assert {heard.subject for heard in alice.heard} <= {f"requests.{M}.{A}.chat"}
