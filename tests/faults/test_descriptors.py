"""No file descriptor is left: who is connected is served, others wait, and it ends by itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from tests.fixtures.ports import free_port
from tests.fixtures.waiting import until

LIMIT = 64


def _serve(environ: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "authsvc", "serve"], env=environ, stdout=out, stderr=out
        )


async def test_when_descriptors_run_out_who_is_there_is_served_and_others_come_back(
    tmp_path: Path,
) -> None:
    port = free_port()
    environ = {
        **os.environ,
        "AUTHSVC_DATA_DIR": str(tmp_path / "data"),
        "AUTHSVC_PORT": str(port),
        "AUTHSVC_DEV_LOGIN": "true",
    }
    log = tmp_path / "log"
    process = _serve(environ, log)
    url = f"http://127.0.0.1:{port}"
    held: list[asyncio.StreamWriter] = []
    try:
        async with httpx.AsyncClient(base_url=url, timeout=10) as there:

            async def serves() -> bool:
                assert process.poll() is None, log.read_text()
                try:
                    return (await there.get("/healthz")).status_code == 200
                except httpx.TransportError:
                    return False

            await until(serves, 40)
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
            for _ in range(2 * LIMIT):  # the rest wait in the kernel's queue
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                held.append(writer)
            descriptors = Path(f"/proc/{process.pid}/fd")
            await until(lambda: len(list(descriptors.iterdir())) >= LIMIT)
            # Who is connected already is served, and told what is wrong with what needs more.
            assert (await there.get("/healthz")).status_code == 200
            assert "descriptors" in (await there.get("/readyz")).json()["reasons"]
            for writer in held:
                writer.transport.abort()
            held.clear()

            async def serves_others() -> bool:
                async with httpx.AsyncClient(base_url=url, timeout=2) as other:
                    with contextlib.suppress(httpx.TransportError):
                        return (await other.get("/.well-known/authsvc")).status_code == 200
                return False

            await until(serves_others, 20)
    finally:
        for writer in held:
            writer.transport.abort()
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    assert process.returncode == 0
    assert "file descriptors run out" in log.read_text()
