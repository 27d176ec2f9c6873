"""What was answered is there after the process was killed in the middle of its work."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from sqlmodel import select

from authsvc.server.database import Database
from authsvc.server.models import UsedProof

_WRITER = """
import asyncio, os, sys
from sqlalchemy import Connection, insert
from authsvc.server.database import Database, GroupCommit
from authsvc.server.models import UsedProof

async def work(connection, orders):
    await connection.run_sync(
        Connection.execute, insert(UsedProof), [{"mark": x} for x in orders]
    )
    return orders

async def main():
    database = Database(sys.argv[1])
    await database.start()
    group = GroupCommit(database, work)

    async def client():
        while True:
            done = await group.submit(os.urandom(16))
            print(done.hex(), flush=True)

    await asyncio.gather(*[client() for _ in range(8)])

asyncio.run(main())
"""


def _answers_until_killed(database_url: str, answers: int) -> list[str]:
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, database_url], stdout=subprocess.PIPE, text=True
    )
    with writer:
        assert writer.stdout is not None
        answered = [writer.stdout.readline().strip() for _ in range(answers)]
        writer.send_signal(signal.SIGKILL)
        answered += [line.strip() for line in writer.stdout if line.endswith("\n")]
    assert writer.returncode == -signal.SIGKILL
    return answered


@pytest.mark.parametrize("answers", [1, 50, 400])
async def test_no_answer_is_lost_when_the_process_is_killed(
    database_url: str, answers: int
) -> None:
    answered = _answers_until_killed(database_url, answers)
    database = Database(database_url)
    await database.start()
    async with database.reading() as session:
        kept = {digest.hex() for digest in await session.scalars(select(UsedProof.mark))}
    await database.stop()
    assert len(answered) >= answers
    assert set(answered) <= kept
