"""Who is looked into in which turn of the event loop."""

from __future__ import annotations

import asyncio

from authsvc.server.turns import Turns


async def _turns_until(done: asyncio.Event) -> int:
    number = 0
    while not done.is_set():
        number += 1
        await asyncio.sleep(0)
    return number


async def test_so_many_in_a_turn_and_in_order() -> None:
    turns = Turns(4)
    order: list[int] = []
    at: list[int] = []
    turn = 0

    async def come(number: int) -> None:
        await turns.take()
        order.append(number)
        at.append(turn)

    tasks = [asyncio.create_task(come(number)) for number in range(18)]
    while not all(task.done() for task in tasks):
        turn += 1
        await asyncio.sleep(0)
    assert order == list(range(18))
    assert max(at.count(number) for number in set(at)) == 4
    assert len(turns) == 0


async def test_whoever_comes_alone_does_not_wait() -> None:
    turns = Turns(1)
    for _ in range(3):
        step = turns.take()
        try:
            step.send(None)
        except StopIteration:
            pass
        else:
            raise AssertionError("it waited")
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_whoever_goes_away_takes_nobody_s_turn() -> None:
    turns = Turns(1)
    tasks = [asyncio.create_task(turns.take()) for _ in range(5)]
    await asyncio.sleep(0)
    assert len(turns) == 4
    for task in tasks[1:4]:
        task.cancel()
    done = asyncio.Event()
    tasks[4].add_done_callback(lambda _: done.set())
    assert await _turns_until(done) <= 4
    assert len(turns) == 0


async def test_it_goes_on_after_it_stood_still() -> None:
    turns = Turns(2)
    for _ in range(3):
        await asyncio.wait_for(asyncio.gather(*[turns.take() for _ in range(7)]), 5)
        await asyncio.sleep(0.01)
