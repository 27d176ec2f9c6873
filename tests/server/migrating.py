"""Upgrades a database and is killed at every statement on the way, one after the other.

``python -m tests.server.migrating URL STEP REVISION`` kills it at each ``STEP``-th statement, looks
each time that the schema is still at ``REVISION``, and prints how often that was in the end.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import Engine, event, text

from authsvc.server.database import Database, migrate


def _upgrade(url: str, last: int) -> None:
    """In a process of its own, which dies before the statement of this number is sent."""
    count = 0

    @event.listens_for(Engine, "before_cursor_execute")
    def _count(*_arguments: Any) -> None:
        nonlocal count
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)

    @event.listens_for(Engine, "commit")
    def _commit(*_arguments: Any) -> None:
        _count()

    asyncio.run(migrate(url))


async def _revision(url: str) -> str:
    database = Database(url)
    async with database.snapshot() as connection:
        found = str(await connection.scalar(text("SELECT version_num FROM alembic_version")))
    await database.stop()
    return found


def _in_a_child(deed: Callable[[], object]) -> int:
    """Do it in a process of its own; returns how that ended."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if deed() is None else 1
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def _main(url: str, step: int) -> int:
    before, killed = sys.argv[3], 0
    while status := _in_a_child(partial(_upgrade, url, 1 + killed * step)):
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            sys.exit(f"it failed by itself after {killed} kills")
        killed += 1
        if _in_a_child(lambda: asyncio.run(_unchanged(url, before))):
            sys.exit(f"kill {killed} left something that is neither the old schema nor the new")
    return killed


async def _unchanged(url: str, before: str) -> None:
    if await _revision(url) != before:
        raise AssertionError(url)


if __name__ == "__main__":
    print(_main(sys.argv[1], int(sys.argv[2])))  # noqa: T201 - its answer
