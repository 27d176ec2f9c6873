"""Rounds: each way in turn for each size and number of calls at a time."""

from __future__ import annotations

import asyncio
import gc
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from authsvc.cli.rpc_bench.places import Place
from authsvc.cli.rpc_bench.ways import BlockingCall, Call, Way

__all__ = ["Cell", "Grid", "Sample", "measure"]

_IN_FLIGHT_BYTES = 16 * 1024 * 1024
"""More at a time, and nats-server takes the reader of them for a slow one and cuts it off."""

_WARM_SHARE = 0.2
_FEW = 3

Cell = tuple[str, int, int]
"""A way's name, the body's bytes, and how many calls are at a time."""


@dataclass(frozen=True, slots=True)
class Grid:
    """What is measured.

    Args:
        sizes: Bytes of the body.
        concurrency: Calls at a time; 1 is one after the other.
        rounds: How often each cell is measured.
        seconds: How long, each time.
    """

    sizes: tuple[int, ...] = (10, 1_000, 10_000, 100_000, 1_000_000)
    concurrency: tuple[int, ...] = (1, 8, 64)
    rounds: int = 5
    seconds: float = 0.4

    def at_a_time(self, size: int, wanted: int) -> int:
        """How many calls of this size can be in flight where so many are wanted."""
        return max(1, min(wanted, _IN_FLIGHT_BYTES // max(1, size)))


@dataclass(frozen=True, slots=True)
class Sample:
    """One turn: calls per second, and times in microseconds."""

    rate: float
    avg: float
    p50: float
    p95: float
    p99: float


@dataclass(slots=True)
class _Took:
    """How long calls took, in seconds."""

    seconds: float = 0.0
    each: list[float] = field(default_factory=list)

    def sample(self) -> Sample:
        ordered = sorted(self.each)

        def quantile(share: float) -> float:
            return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e6

        return Sample(
            rate=len(ordered) / self.seconds,
            avg=statistics.fmean(ordered) * 1e6,
            p50=quantile(0.5),
            p95=quantile(0.95),
            p99=quantile(0.99),
        )


async def measure(
    place: Place, found: list[Way], grid: Grid, tell: Callable[[str], None]
) -> dict[Cell, list[Sample]]:
    """All rounds.

    Args:
        place: Where.
        found: The ways, in any order; who is first changes with every round.
        grid: What.
        tell: Hears how far it is, and what can't be measured: that is left out.
    """
    samples: dict[Cell, list[Sample]] = defaultdict(list)
    failed: set[Cell] = set()
    for number in range(grid.rounds):
        tell(f"round {number + 1} of {grid.rounds}")
        turn = number % len(found)
        for size in grid.sizes:
            for wanted in grid.concurrency:
                for way in found[turn:] + found[:turn]:
                    count = grid.at_a_time(size, wanted)
                    cell = (way.name, size, wanted)
                    if cell in failed:
                        continue
                    try:
                        took = await _turn(place, way, bytes(size), count, grid.seconds)
                    except RuntimeError:
                        raise
                    except Exception as error:  # noqa: BLE001  a rival raises what it likes
                        failed.add(cell)
                        where = f"{way.title}, {size} bytes, {count} at a time"
                        tell(f"{where}: {type(error).__name__} {error}")
                    else:
                        samples[cell].append(took.sample())
    return {cell: found for cell, found in samples.items() if cell not in failed}


async def _turn(place: Place, way: Way, body: bytes, count: int, seconds: float) -> _Took:
    if way.blocking is not None:
        async with way.blocking(place, count) as blocking:
            return await asyncio.to_thread(_blocking_turn, way, blocking, body, count, seconds)
    if way.open is None:
        raise ValueError(f"{way.name} can't be opened")
    async with way.open(place, count) as call:
        _check(way, body, await call(body))
        await _load(call, body, count, seconds * _WARM_SHARE)
        gc.collect()
        return await _load(call, body, count, seconds)


def _check(way: Way, body: bytes, answer: bytes) -> None:
    if answer != body:
        raise RuntimeError(f"{way.title} answered another body")


async def _load(call: Call, body: bytes, count: int, seconds: float) -> _Took:
    """So many workers, each the next call as soon as it has its answer."""
    took = _Took()
    each = took.each
    begin = time.perf_counter()
    end = begin + seconds

    async def work() -> None:
        done = 0
        while (start := time.perf_counter()) < end or done < _FEW:
            await call(body)
            each.append(time.perf_counter() - start)
            done += 1

    await asyncio.gather(*[work() for _ in range(count)])
    took.seconds = time.perf_counter() - begin
    return took


def _blocking_turn(way: Way, call: BlockingCall, body: bytes, count: int, seconds: float) -> _Took:
    _check(way, body, call(body))
    _threads(call, body, count, seconds * _WARM_SHARE)
    gc.collect()
    return _threads(call, body, count, seconds)


def _threads(call: BlockingCall, body: bytes, count: int, seconds: float) -> _Took:
    """The same, each worker a thread."""
    took = _Took()
    each = took.each
    barrier = threading.Barrier(count + 1)

    def work() -> None:
        barrier.wait()
        end = time.perf_counter() + seconds
        done = 0
        while (start := time.perf_counter()) < end or done < _FEW:
            call(body)
            each.append(time.perf_counter() - start)
            done += 1

    with ThreadPoolExecutor(count) as pool:
        working = [pool.submit(work) for _ in range(count)]
        barrier.wait()
        begin = time.perf_counter()
        for found in working:
            found.result()
        took.seconds = time.perf_counter() - begin
    return took
