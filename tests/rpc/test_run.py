"""Service.run in a process of its own, ended by signals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from authsvc.claims import format_creds
from authsvc.rpc import DeadlineExceeded, NoResponder, Peer
from authsvc.rpc._loops.running import run_until_told
from tests.rpc.conftest import People

PROGRAM = """
import sys, asyncio, time
from authsvc.rpc import Service
from authsvc.rpc._responder import serving as _serving
_serving._DRAIN_SECONDS = float(sys.argv[3])
service = Service("run", on_ready=lambda: print("ready", flush=True))

@service.on_request("/loop")
async def loop() -> str:
    return type(asyncio.get_running_loop()).__module__

@service.on_request("/long")
async def long() -> None:
    print("begun", flush=True)
    await asyncio.sleep(60)

@service.on_request("/thread")
def thread() -> None:
    print("begun", flush=True)
    time.sleep(60)

@service.on_request("/loop-blocked")
async def blocked() -> None:
    print("begun", flush=True)
    time.sleep(60)

@service.on_request("/slow")
async def slow() -> str:
    print("begun", flush=True)
    await asyncio.sleep(0.5)
    return "done"

service.run(creds=sys.argv[1], servers=[sys.argv[2]])
print("over", flush=True)
"""


@contextlib.asynccontextmanager
async def running(
    people: People, folder: Path, drain: float = 30
) -> AsyncIterator[tuple[asyncio.subprocess.Process, asyncio.StreamReader, Peer]]:
    """Bob's program, what it prints, and alice's way to call it."""
    creds = people.kit.user_creds(people.name("bob"))
    path = folder / "bob.creds"
    path.write_text(format_creds(creds.jwt, creds.key))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, path, people.kit.url, str(drain),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"ready\n"
        alice = await people.client("alice")
        yield process, process.stdout, alice.peer(people.name("bob"), "run")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_signals_end_it_after_what_is_in_flight(
    people: People, tmp_path: Path, number: signal.Signals
) -> None:
    async with running(people, tmp_path) as (process, printed, peer):
        assert (await peer.call("/loop")).text.startswith("uvloop")
        call = asyncio.create_task(peer.call("/slow", timeout=5))
        assert await printed.readline() == b"begun\n"
        process.send_signal(number)
        assert (await call).text == "done"
        assert await printed.readline() == b"over\n"
        assert await asyncio.wait_for(process.wait(), 10) == 0
        with pytest.raises(NoResponder):
            await peer.call("/slow")


async def test_a_thread_that_blocks_holds_it_no_longer_than_the_drain(
    people: People, tmp_path: Path
) -> None:
    async with running(people, tmp_path, drain=0.3) as (process, printed, peer):
        call = asyncio.create_task(peer.call("/thread", timeout=1))
        assert await printed.readline() == b"begun\n"
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(printed.readline(), 10) == b"over\n"
        assert await asyncio.wait_for(process.wait(), 10) == 0
        with pytest.raises(DeadlineExceeded):
            await call


@pytest.mark.parametrize("path", ["/long", "/thread", "/loop-blocked"])
async def test_a_second_signal_ends_it_at_once(people: People, tmp_path: Path, path: str) -> None:
    async with running(people, tmp_path) as (process, printed, peer):
        call = asyncio.create_task(peer.call(path, timeout=1))
        assert await printed.readline() == b"begun\n"
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 5) == -signal.SIGINT
        with pytest.raises(DeadlineExceeded):
            await call


def test_a_program_gets_its_own_signal_handlers_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    async def main() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(20)

    run_until_told(main())
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_it_fails_clearly_without_a_connection(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, tmp_path / "no.creds", "nats://127.0.0.1:1", "30",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 1
    assert out == b""
    assert b"NotAuthenticated" in err
