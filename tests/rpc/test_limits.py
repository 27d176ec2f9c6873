"""Handlers run side by side, and limits hold."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from authsvc.rpc import Peer, Service
from authsvc.rpc._loops.workers import Workers, aside
from authsvc.rpc._responder import limits
from tests.rpc.conftest import Eventually, People
from tests.rpc.test_service import pair


class Running:
    """How many are inside, and how many were at most."""

    def __init__(self) -> None:
        self.now = self.most = self.all = 0

    @asynccontextmanager
    async def inside(self) -> AsyncIterator[None]:
        self.now += 1
        self.all += 1
        self.most = max(self.most, self.now)
        try:
            yield
        finally:
            self.now -= 1


async def many(peer: Peer, path: str, count: int) -> list[int]:
    calls = [peer.call(path, timeout=20) for _ in range(count)]
    return [response.status for response in await asyncio.gather(*calls)]


async def test_handlers_of_one_service_run_side_by_side(people: People) -> None:
    service, running = Service("beside"), Running()
    everybody = asyncio.Event()

    @service.on_request("/wait")
    async def wait() -> None:
        async with running.inside():
            if running.now == 10:
                everybody.set()
            await everybody.wait()
            await asyncio.sleep(0.1)

    @service.on_request("/block")
    def block() -> None:
        time.sleep(0.1)

    peer = await pair(people, service)
    # None of them ends before all of them run.
    assert await many(peer, "/wait", 10) == [200] * 10
    assert running.most == 10
    assert await many(peer, "/block", 10) == [200] * 10  # one after the other: 1 s
    took = []
    for path in ("/wait", "/block") * 3:
        started = time.perf_counter()
        await many(peer, path, 10)
        took.append(time.perf_counter() - started)
    assert 0.1 <= min(took) < 0.5


@pytest.mark.parametrize("concurrency", [3, 256])
async def test_no_more_than_the_limit_run(people: People, concurrency: int) -> None:
    service, running, whole = Service("limited", concurrency=concurrency), Running(), Running()

    @service.on_request("/narrow", limit=2)
    async def narrow() -> None:
        async with running.inside(), whole.inside():
            await asyncio.sleep(0.005)

    @service.on_request("/wide")
    async def wide() -> None:
        async with whole.inside():
            await asyncio.sleep(0.005)

    peer = await pair(people, service)
    found = await asyncio.gather(*[many(peer, path, 30) for path in ("/narrow", "/wide") * 2])
    assert found == [[200] * 30] * 4
    assert running.most == 2
    assert running.all == 60
    assert whole.most <= concurrency
    assert service.in_flight == 0


async def test_those_that_wait_hold_no_other_handler_up(
    people: People, eventually: Eventually
) -> None:
    service, release, running = Service("aside", concurrency=2), asyncio.Event(), Running()

    @service.on_request("/narrow", limit=1)
    async def narrow() -> None:
        async with running.inside():
            await release.wait()

    @service.on_request("/quick")
    async def quick() -> str:
        return "quick"

    peer = await pair(people, service)
    waiting = asyncio.create_task(many(peer, "/narrow", 20))
    await eventually(lambda: service.stats.requests == 20)
    assert [(await peer.call("/quick", timeout=5)).text for _ in range(5)] == ["quick"] * 5
    late = asyncio.create_task(peer.call("/narrow", timeout=20))
    await eventually(lambda: service.stats.requests == 26)
    late.cancel()
    await eventually(lambda: service.stats.cancelled == 1)
    release.set()
    assert await waiting == [200] * 20
    assert (running.most, running.all) == (1, 20)


async def test_more_than_may_wait_are_refused_and_expired_ones_not_begun(
    people: People, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_WAITING", 2)
    service, release, running = Service("full"), asyncio.Event(), Running()

    @service.on_request("/", limit=1)
    async def narrow() -> None:
        async with running.inside():
            await release.wait()

    peer = await pair(people, service)
    calls = [asyncio.create_task(peer.call("/", timeout=20)) for _ in range(3)]
    await eventually(lambda: service.in_flight == 3)
    refused = await peer.call("/", timeout=5)
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert service.stats.rejected == 1
    release.set()
    assert [(await call).status for call in calls] == [200] * 3
    assert running.all == 3


def test_a_limit_is_at_least_one() -> None:
    service = Service("none")
    with pytest.raises(ValueError, match="at least 1"):
        service.on_request("/", limit=0)(test_a_limit_is_at_least_one)


@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_workers_that_stand_aside_come_back_within_the_limit(limit: int) -> None:
    running, done = Running(), asyncio.Event()
    left = 200

    async def work(number: int) -> None:
        nonlocal left
        async with running.inside():
            await asyncio.sleep(0)
        if number % 3:
            async with aside():
                await asyncio.sleep(0.001 * (number % 5))
        async with running.inside():
            await asyncio.sleep(0)
        left -= 1
        if not left:
            done.set()

    workers = Workers(work, limit=limit, backlog=1000)
    for number in range(left):
        assert workers.submit(number)
    await asyncio.wait_for(done.wait(), 20)
    assert await workers.quiet(5)
    assert running.most <= limit
    assert running.all == 400
    await workers.stop()


async def test_standing_aside_outside_of_a_worker_is_nothing() -> None:
    async with aside():
        await asyncio.sleep(0)
