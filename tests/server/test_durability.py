"""What was answered is there after the process was killed in the middle of its work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from sqlmodel import select

from authsvc.server.database import Database
from authsvc.server.models import UsedProof

# Each line that it reads is a database, which a process of its own writes to.
_WRITERS = """
import asyncio, os, sys
from sqlalchemy import insert
from authsvc.server.database import Database
from authsvc.server.group_commit import GroupCommit
from authsvc.server.models import UsedProof

def say(*words):
    # In one call, so that no kill comes into a line. print() takes two where
    # PYTHONUNBUFFERED is set.
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def work(connection, orders):
    connection.execute(insert(UsedProof), [{"mark": x} for x in orders])
    return orders

async def main(url):
    database = Database(url)
    await database.start()
    group = GroupCommit(database, work)

    async def client():
        while True:
            done = await group.submit(os.urandom(16))
            say(done.hex())

    await asyncio.gather(*[client() for _ in range(8)])

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        asyncio.run(main(line.strip()))
    say("writer", child)
    _, status = os.waitpid(child, 0)
    say("ended", os.waitstatus_to_exitcode(status))
"""


@pytest.fixture(scope="module")
def writers() -> Iterator[subprocess.Popen[str]]:
    """Has imported everything, and forks the writers."""
    with subprocess.Popen(
        [sys.executable, "-c", _WRITERS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
    assert process.returncode == 0


def _answers_until_killed(
    writers: subprocess.Popen[str], database_url: str, answers: int
) -> list[str]:
    assert writers.stdin is not None
    assert writers.stdout is not None
    writers.stdin.write(f"{database_url}\n")
    writers.stdin.flush()
    # Short lines are written whole; whose comes first is open.
    lines = [writers.stdout.readline().split() for _ in range(answers + 1)]
    (pid,) = [int(words[1]) for words in lines if words[0] == "writer"]
    os.kill(pid, signal.SIGKILL)
    while lines[-1][0] != "ended":
        lines.append(writers.stdout.readline().split())
    assert lines.pop() == ["ended", str(-signal.SIGKILL)]
    return [words[0] for words in lines if len(words) == 1]


@pytest.mark.parametrize("answers", [1, 50, 400])
async def test_no_answer_is_lost_when_the_process_is_killed(
    writers: subprocess.Popen[str], database_url: str, answers: int
) -> None:
    answered = _answers_until_killed(writers, database_url, answers)
    database = Database(database_url)
    await database.start()
    async with database.reading() as session:
        kept = {digest.hex() for digest in await session.scalars(select(UsedProof.mark))}
    await database.stop()
    assert len(answered) >= answers
    assert set(answered) <= kept
