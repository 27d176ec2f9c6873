"""A client that speaks the NATS protocol line by line, and asks for whatever it likes.

nats-py refuses some subjects by itself and lower-cases errors; an attacker's client doesn't.
Source: https://docs.nats.io/reference/reference-protocols/nats-protocol.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from typing import TYPE_CHECKING, NamedTuple

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable

    from authsvc.claims import Creds

ANSWER_SECONDS = 10


class Heard(NamedTuple):
    subject: str
    reply: str
    headers: bytes
    body: bytes


class RawClient:
    """One connection; everything it hears is in ``heard``, every refusal in ``errors``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._pongs = asyncio.Queue[None]()
        self._sids = 0
        self.heard: list[Heard] = []
        self.errors: list[str] = []
        self.news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def connect(cls, host: str, port: int, creds: Creds) -> RawClient:
        def sign(nonce: str) -> dict[str, str]:
            signature = base64.urlsafe_b64encode(creds.key.sign(nonce.encode())).rstrip(b"=")
            return {"jwt": creds.jwt, "sig": signature.decode()}

        return await cls._open(host, port, sign)

    @classmethod
    async def login(cls, host: str, port: int, **said: str) -> RawClient:
        """Without a signature: what CONNECT says is ``said``, such as ``user`` and ``pass``."""
        return await cls._open(host, port, lambda _nonce: said)

    @classmethod
    async def _open(cls, host: str, port: int, prove: Callable[[str], dict[str, str]]) -> RawClient:
        reader, writer = await asyncio.open_connection(host, port, limit=1 << 22)
        async with asyncio.timeout(ANSWER_SECONDS):
            info = orjson.loads((await reader.readline()).removeprefix(b"INFO "))
        hello = {
            **prove(info["nonce"]),
            "verbose": False,
            "pedantic": False,
            "protocol": 1,
            "headers": True,
            "no_responders": True,
            "lang": "raw",
            "version": "0",
        }
        client = cls(reader, writer)
        client._send(b"CONNECT " + orjson.dumps(hello))
        client._task = asyncio.create_task(client._read())
        await client.settle()
        return client

    def _send(self, line: bytes) -> None:
        self._writer.write(line + b"\r\n")

    def publish(
        self, subject: str, body: bytes = b"", reply: str = "", headers: bytes = b""
    ) -> None:
        start = f"{subject} {reply}" if reply else subject
        if headers:
            block = b"NATS/1.0\r\n" + headers + b"\r\n\r\n"
            sizes = f"{len(block)} {len(block) + len(body)}"
            self._send(f"HPUB {start} {sizes}".encode() + b"\r\n" + block + body)
        else:
            self._send(f"PUB {start} {len(body)}".encode() + b"\r\n" + body)

    def subscribe(self, subject: str, queue: str = "") -> int:
        self._sids += 1
        start = f"{subject} {queue}" if queue else subject
        self._send(f"SUB {start} {self._sids}".encode())
        return self._sids

    def unsubscribe(self, sid: int) -> None:
        self._send(f"UNSUB {sid}".encode())

    async def settle(self) -> None:
        """Until the server has handled everything sent so far."""
        self._send(b"PING")
        async with asyncio.timeout(ANSWER_SECONDS):
            await self._pongs.get()

    async def refused(self) -> list[str]:
        """What was refused since the last time."""
        await self.settle()
        found, self.errors = self.errors, []
        return found

    async def until(self, count: int) -> list[Heard]:
        """Wait until so many messages were heard."""
        async with asyncio.timeout(ANSWER_SECONDS):
            while len(self.heard) < count:
                self.news.clear()
                await self.news.wait()
        return self.heard

    async def ask(self, subject: str, body: bytes, reply: str) -> Heard:
        """Publish with a reply subject that is subscribed to, and wait for what comes there."""
        self.heard.clear()
        self.publish(subject, body, reply)
        return (await self.until(1))[0]

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionError):  # refused, while we were still sending
            while line := await self._reader.readline():
                word, _, rest = line.rstrip(b"\r\n").partition(b" ")
                if word == b"PING":
                    self._send(b"PONG")
                elif word == b"PONG":
                    self._pongs.put_nowait(None)
                elif word == b"-ERR":
                    self.errors.append(rest.decode())
                elif word in {b"MSG", b"HMSG"}:
                    await self._take(word == b"HMSG", rest.decode().split(" "))
        self.errors.append("closed")
        self._pongs.put_nowait(None)

    async def _take(self, has_headers: bool, parts: list[str]) -> None:  # noqa: FBT001
        sizes = 2 if has_headers else 1
        total = int(parts[-1])
        block = int(parts[-2]) if has_headers else 0
        content = (await self._reader.readexactly(total + 2))[:-2]
        reply = parts[2] if len(parts) == 3 + sizes else ""
        self.heard.append(Heard(parts[0], reply, content[:block], content[block:]))
        self.news.set()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
