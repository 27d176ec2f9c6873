"""Somebody on the machine of a nats-server that is cut off, connected to it through all of it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING

from nats.aio.client import Client
from nats.errors import Error as NatsError

from authsvc.claims import decode_user
from authsvc.nkey import KeyPair
from tests.fixtures.waiting import until

if TYPE_CHECKING:
    from tests.faults.network import Host

__all__ = ["Inside", "connected", "say"]


async def _ignore(_: Exception) -> None:
    """Take the place of nats-py's callback, which logs every error with a traceback."""


async def connected(url: str, jwt: str, key: KeyPair) -> Client | None:
    """A connection that does not come back by itself; None if the server lets nobody in."""
    client = Client()
    try:
        await client.connect(
            url,
            allow_reconnect=False,
            connect_timeout=2,
            error_cb=_ignore,
            inbox_prefix=f"_INBOX.{decode_user(jwt).name}".encode(),
            user_jwt_cb=jwt.encode,
            signature_cb=lambda nonce: base64.b64encode(key.sign(nonce.encode())),
        )
    except (NatsError, OSError, TimeoutError):
        await client.close()
        return None
    return client


class Inside:
    """Somebody on a server's own machine."""

    def __init__(self, host: Host, jwt: str, key: KeyPair) -> None:
        self._words = [sys.executable, "-m", "tests.faults.inside", host.url, jwt, key.seed]
        self._host = host
        self._process: asyncio.subprocess.Process | None = None
        self.said: list[str] = []

    async def start(self) -> None:
        """Connect, and go on to look whether it lasts."""
        self._process = await asyncio.create_subprocess_exec(
            *self._host.inside(), *self._words, stdout=subprocess.PIPE
        )
        self._task = asyncio.create_task(self._hear())

    async def _hear(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.said.append(line.decode().strip())

    async def stop(self) -> None:
        """End it."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            await self._task


async def inside(url: str, jwt: str, seed: str) -> None:
    """Say ``in`` or ``refused``, and then ``out`` when it is ended."""
    client = await connected(url, jwt, KeyPair.from_seed(seed))
    say("in" if client else "refused")
    if client is not None:
        await until(lambda: client.is_closed, 600)
        say("out")


def say(line: str) -> None:
    """Tell whoever started this process."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(inside(*sys.argv[1:]))
