"""Service.run in a process of its own, ended by signals."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

import pytest

from authsvc.claims import format_creds
from authsvc.rpc import DeadlineExceeded, NoResponder
from tests.rpc.conftest import People

PROGRAM = """
import sys, asyncio
from authsvc.rpc import Service
service = Service("run", on_ready=lambda: print("ready", flush=True))

@service.on_request("/loop")
async def loop() -> str:
    return type(asyncio.get_running_loop()).__module__

@service.on_request("/long")
async def long() -> None:
    print("begun", flush=True)
    await asyncio.sleep(60)

@service.on_request("/slow")
async def slow() -> str:
    print("begun", flush=True)
    await asyncio.sleep(0.5)
    return "done"

service.run(creds=sys.argv[1], servers=[sys.argv[2]])
print("over", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_signals_end_it_after_what_is_in_flight(
    people: People, tmp_path: Path, number: signal.Signals
) -> None:
    creds = people.kit.user_creds(people.name("bob"))
    path = tmp_path / "bob.creds"
    path.write_text(format_creds(creds.jwt, creds.key))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, path, people.kit.url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    alice = await people.client("alice")
    peer = alice.peer(people.name("bob"), "run")
    assert (await peer.call("/loop")).text.startswith("uvloop")
    call = asyncio.create_task(peer.call("/slow", timeout=5))
    assert await process.stdout.readline() == b"begun\n"
    process.send_signal(number)
    assert (await call).text == "done"
    assert await process.stdout.readline() == b"over\n"
    assert await asyncio.wait_for(process.wait(), 10) == 0
    with pytest.raises(NoResponder):
        await peer.call("/slow")


async def test_a_second_signal_ends_it_at_once(people: People, tmp_path: Path) -> None:
    creds = people.kit.user_creds(people.name("bob"))
    path = tmp_path / "bob.creds"
    path.write_text(format_creds(creds.jwt, creds.key))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, path, people.kit.url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"ready\n"
        alice = await people.client("alice")
        peer = alice.peer(people.name("bob"), "run")
        call = asyncio.create_task(peer.call("/long", timeout=2))
        assert await process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
    with pytest.raises(DeadlineExceeded):
        await call


async def test_it_fails_clearly_without_a_connection(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, tmp_path / "no.creds", "nats://127.0.0.1:1",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 1
    assert out == b""
    assert b"NotAuthenticated" in err
