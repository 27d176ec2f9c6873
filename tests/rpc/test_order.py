"""The order of each requester's stored requests when the responder is killed, and after gaps."""

from __future__ import annotations

import asyncio
import sys
import time
from itertools import count
from pathlib import Path

import pytest

from authsvc.claims import format_creds
from authsvc.rpc import AsyncClient, Future, Request, Response, Service
from authsvc.rpc._responder import lanes
from authsvc.rpc._responder.hand import Taken
from authsvc.rpc._responder.lanes import HOLD_SECONDS, LAST_DELIVERY, OrderedHand
from authsvc.rpc._wire.frames import RequestFrame
from authsvc.rpc._wire.jetstream import Delivered
from authsvc.server.provision.mail_streams import Bounds
from tests.rpc.conftest import People
from tests.rpc.mailboxes import Post

# Answers some at once, says what it takes, and hangs in each "hang".
HANGING = """
import asyncio, sys
from authsvc.rpc import AsyncClient, Request, Service

service = Service("count", ordered=True)

@service.on_request("/n")
async def answer(request: Request) -> str:
    print(request.requester, request.text, flush=True)
    if request.text in sys.argv[3:]:
        await asyncio.sleep(600)
    return request.text

async def main():
    async with AsyncClient(creds=sys.argv[1], servers=[sys.argv[2]]) as client:
        await service.serve(client)

asyncio.run(main())
"""


def counting(handled: list[tuple[str, int]]) -> Service:
    service = Service("count", ordered=True)

    @service.on_request("/n")
    async def answer(request: Request) -> str:
        handled.append((request.requester, int(request.text)))
        await asyncio.sleep(0.005)
        return request.text

    return service


def of(handled: list[tuple[str, int]], client: AsyncClient) -> list[int]:
    return [number for name, number in handled if name == client.username]


async def submitted(client: AsyncClient, to: str, numbers: range) -> list[Future]:
    peer = client.peer(to, "count")
    return [await peer.submit("/n", content=str(number)) for number in numbers]


async def test_a_killed_responder_breaks_no_order(
    people: People,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # No authsvc here to say how many are missing: time alone tells.
    monkeypatch.setattr(lanes, "HOLD_SECONDS", 5.0)
    post = await Post.open(people)
    bob = people.name("bob")
    await post.requests(bob, "count", wait=2)
    creds = people.kit.user_creds(bob)
    (tmp_path / "bob.creds").write_text(format_creds(creds.jwt, creds.key))
    first = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HANGING, str(tmp_path / "bob.creds"), people.kit.url, "3"),
        stdout=asyncio.subprocess.PIPE,
    )
    callers = []
    for who in ("alice", "carol", "dave"):
        await post.responses(people.name(who))
        callers.append(await people.client(who))
    futures = []
    assert first.stdout is not None
    try:
        for client in callers:
            futures += await submitted(client, bob, range(8))
        # Each has 0 to 2 answered, 3 in hand, and the rest waits in that process.
        for _ in range(4 * len(callers)):
            await asyncio.wait_for(first.stdout.readline(), 20)
    finally:
        first.kill()
        await first.communicate()
    for client in callers[:2]:
        futures += await submitted(client, bob, range(8, 16))
    handled: list[tuple[str, int]] = []
    service = counting(handled)
    await people.serve(service, await people.client("bob"))
    futures += await submitted(callers[0], bob, range(16, 20))
    for one in futures:
        assert (await one.result(30)).status == 200
    assert of(handled, callers[0]) == list(range(3, 20))
    assert of(handled, callers[1]) == list(range(3, 16))
    assert of(handled, callers[2]) == list(range(3, 8))
    assert service.stats.redelivered >= 15
    assert "no authsvc to ask whether anything does; it waits for 5 s" in caplog.text
    # Nothing is missing now: what comes is handled at once.
    started = time.monotonic()
    for one in await submitted(callers[1], bob, range(16, 18)):
        assert (await one.result(10)).status == 200
    assert time.monotonic() - started < 2


async def test_one_that_is_given_back_holds_up_its_own_requester_only(people: People) -> None:
    post = await Post.open(people)
    bob = people.name("bob")
    await post.requests(bob, "count", wait=2)
    handled: list[tuple[str, int]] = []
    service = Service("count", ordered=True)
    tries = count()

    @service.on_request("/n")
    async def answer(request: Request) -> Response:
        if request.text == "1" and request.requester == alice.username and next(tries) < 2:
            return Response(status=503, headers={"retry-after": "1"})
        handled.append((request.requester, int(request.text)))
        return Response(request.text)

    await post.responses(people.name("alice"))
    await post.responses(people.name("carol"))
    alice, carol = await people.client("alice"), await people.client("carol")
    await people.serve(service, await people.client("bob"))
    first = await submitted(alice, bob, range(4))
    second = await submitted(carol, bob, range(4))
    for one in second:
        await one.result(10)
    assert of(handled, carol) == [0, 1, 2, 3]
    assert of(handled, alice) == [0]
    for one in first:
        await one.result(10)
    assert of(handled, alice) == [0, 1, 2, 3]


def taken(sequence: int, requester: str = "a", times: int = 1, number: int = 0) -> Taken:
    now = time.monotonic()
    frame = RequestFrame("0" * 32, 0, int(time.time() * 1000) + 900_000, "POST", "/", (), b"")
    request = Request(requester, "app", frame, now)
    request.expires = now + 900
    return Taken(request, "", "", Delivered(times, sequence, 7, number or sequence))


def names(ready: object) -> list[int]:
    return [one.about.sequence for one in ready]  # type: ignore[attr-defined]


def come(hand: OrderedHand, one: Taken, now: float) -> list[int]:
    hand.delivered(one.about, now)
    if hand.known(one.about, ""):
        return []
    return names(hand.take(one, now))


def test_the_first_of_all_is_let_go_at_once() -> None:
    hand, now = OrderedHand(), time.monotonic()
    hand.begin(None, now)
    assert come(hand, taken(5, number=1), now) == [5]
    assert come(hand, taken(6, number=2), now) == []
    assert come(hand, taken(7, "b", number=3), now) == [7]


@pytest.mark.parametrize("known", [2, None])
def test_what_others_took_is_waited_for(known: int | None) -> None:
    hand, now = OrderedHand(), time.monotonic()
    hand.begin(known, now)
    assert come(hand, taken(9, number=9), now) == []
    assert come(hand, taken(8, "b", number=10), now) == []
    assert come(hand, taken(4, times=2, number=11), now) == []
    last = come(hand, taken(2, times=2, number=12), now)
    if known is None:
        assert last == []
        assert hand.holding(now) > HOLD_SECONDS - 1
        last = names(hand.ready(now + HOLD_SECONDS))
    assert sorted(last) == [2, 8]
    assert hand.holding(now) == 0 or known is None


def test_nothing_is_waited_for_where_all_is_acknowledged() -> None:
    hand, now = OrderedHand(), time.monotonic()
    hand.begin(0, now)
    assert come(hand, taken(9, number=9), now) == [9]


def test_a_missing_delivery_is_waited_for() -> None:
    hand, now = OrderedHand(), time.monotonic()
    hand.begin(0, now)
    one = taken(1)
    assert come(hand, one, now) == [1]
    assert come(hand, taken(3, "b"), now) == []  # 2 went into a connection that broke
    assert names(hand.let_go(one, now, done=True)) == []
    found = come(hand, taken(2, "b", times=2, number=4), now)
    assert found == [2]
    # One that a renewed connection only brought late was not missing.
    assert come(hand, taken(7, "c", number=6), now) == []
    assert come(hand, taken(6, "c", number=5), now) == [6]


def test_a_consumer_that_was_made_anew_counts_from_one() -> None:
    hand, now = OrderedHand(), time.monotonic()
    hand.begin(0, now)
    assert come(hand, taken(7, number=4), now) == [7]
    assert come(hand, taken(7, number=4), now) == []  # a renewed connection brings it twice
    assert come(hand, taken(1, "b", number=1), now) == [1]
    assert come(hand, taken(2, "c", number=2), now) == [2]
    assert come(hand, taken(3, "d", number=5), now) == []  # two are missing


def test_one_that_was_given_back_keeps_its_place_for_a_while() -> None:
    hand, now = OrderedHand(), time.monotonic()
    hand.begin(0, now)
    one, two = taken(1), taken(2)
    come(hand, one, now)
    come(hand, two, now)
    assert names(hand.let_go(one, now, done=False, delay=1)) == []
    assert names(hand.idle()) == [2]
    assert names(hand.ready(now + HOLD_SECONDS)) == []
    again = taken(1, times=2, number=3)
    assert come(hand, again, now) == [1]
    assert names(hand.let_go(again, now, done=False, delay=1)) == []
    assert names(hand.ready(now + HOLD_SECONDS + 1)) == [2]


def test_a_dead_letter_holds_up_nobody() -> None:
    hand, now = OrderedHand(), time.monotonic()
    hand.begin(0, now)
    one = taken(1, times=LAST_DELIVERY)
    come(hand, one, now)
    come(hand, taken(2), now)
    assert names(hand.let_go(one, now, done=False)) == [2]
    assert Bounds().max_deliver == LAST_DELIVERY
    assert max(Bounds().backoff) < HOLD_SECONDS
