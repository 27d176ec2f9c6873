"""A small HTTP/1.1 load generator: requests prepared beforehand, kept-alive connections.

It does as little as it can, so that on two cores the server is what is measured.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial


@dataclass
class Outcome:
    """What a burst of requests took: wall seconds, and each answer's latency."""

    requests: int
    seconds: float
    latencies: list[float]
    statuses: dict[int, int]
    body_bytes: int

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


class _Connection(asyncio.Protocol):
    """One connection that sends the next request when an answer is complete."""

    def __init__(self, requests: Sequence[bytes], done: asyncio.Future[None]) -> None:
        self.requests = requests
        self.done = done
        self.place = 0
        self.started = 0.0
        self.buffer = b""
        self.latencies: list[float] = []
        self.statuses: dict[int, int] = {}
        self.body_bytes = 0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def send(self) -> None:
        """Send the next request, or close after the last answer."""
        if self.place >= len(self.requests):
            self.transport.close()
            if not self.done.done():
                self.done.set_result(None)
            return
        self.started = time.perf_counter()
        self.transport.write(self.requests[self.place])
        self.place += 1

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        length = body_length(self.buffer, head)
        if length is None or len(self.buffer) < head + 4 + length:
            return
        status = int(self.buffer[9:12])
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.latencies.append(time.perf_counter() - self.started)
        self.body_bytes = length
        self.buffer = self.buffer[head + 4 + length :]
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server closed the connection"))


def body_length(answer: bytes, head: int) -> int | None:
    """Bytes of the body behind a head that ends there; None while chunks are missing."""
    lower = answer[:head].lower()
    at = lower.find(b"content-length: ")
    if at >= 0:
        return int(lower[at + 16 :].partition(b"\r")[0])
    # In chunks: the only answer that is under way, so its end is the buffer's.
    return len(answer) - head - 4 if answer.endswith(b"\r\n0\r\n\r\n") else None


async def burst(
    port: int,
    requests: Sequence[bytes],
    connections: int,
    trust: ssl.SSLContext | None = None,
) -> Outcome:
    """Send all requests over so many connections, each the next as soon as it has an answer.

    They connect first, by TLS where there is somebody to trust; that is not counted.
    """
    loop = asyncio.get_running_loop()
    protocols: list[_Connection] = []
    waits = []
    for number in range(connections):
        done = loop.create_future()
        waits.append(done)
        share = requests[number::connections]
        _, protocol = await loop.create_connection(
            partial(_Connection, share, done), "127.0.0.1", port, ssl=trust
        )
        protocols.append(protocol)
    started = time.perf_counter()
    for protocol in protocols:
        protocol.send()
    await asyncio.gather(*waits)
    seconds = time.perf_counter() - started
    statuses: dict[int, int] = {}
    for protocol in protocols:
        for status, count in protocol.statuses.items():
            statuses[status] = statuses.get(status, 0) + count
    latencies = [latency for protocol in protocols for latency in protocol.latencies]
    return Outcome(len(requests), seconds, latencies, statuses, protocols[0].body_bytes)
