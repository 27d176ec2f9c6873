"""Background tasks end, whatever they do with a cancellation."""

from __future__ import annotations

import asyncio

from authsvc.server.provision.tasks import end


async def test_a_task_that_loses_a_cancellation_ends_all_the_same() -> None:
    lost = 0

    async def stubborn() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                lost += 1
                if lost > 1:
                    raise

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await end([task])
    assert task.cancelled()
    assert lost == 2


async def test_what_has_ended_or_failed_already_is_no_trouble() -> None:
    async def fail() -> None:
        raise ValueError

    failed = asyncio.create_task(fail())
    await asyncio.wait([failed])
    await end([failed])
    assert isinstance(failed.exception(), ValueError)
    await end([])
