"""How a request is opened whose bodies may travel in chunks."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator

from authsvc.errors import DeadlineExceeded
from authsvc.rpc._calls.calls import Calls
from authsvc.rpc._messages.trace import trace_of, traced
from authsvc.rpc._session.connection import Connection
from authsvc.rpc._session.session import Session
from authsvc.rpc._streams.heads import DAY, Head, Timeouts
from authsvc.rpc._streams.requester import Opened
from authsvc.rpc._wire.chunks import open_bytes
from authsvc.rpc._wire.flow import MAX_BODY_BYTES, WHOLE_BYTES, head_bytes, window_bytes
from authsvc.rpc._wire.frames import Pairs, call_line
from authsvc.rpc._wire.ids import request_id
from authsvc.rpc._wire.signing import sealed

__all__ = ["ConnectTimedOut", "Pieces", "open_stream"]

Pieces = bytes | AsyncIterator[bytes]

_SMALL_BYTES = 4096
_SIGNATURE_BYTES = 256


class ConnectTimedOut(DeadlineExceeded):
    """There was no connection to nats-server."""


async def open_stream(
    session: Session,
    calls: Calls,
    subject: str,
    *,
    method: str,
    target: str,
    pairs: Pairs,
    body: Pieces,
    timeouts: Timeouts,
    limit: int = MAX_BODY_BYTES,
    sign: bool = False,
) -> tuple[Opened, Head]:
    """Open a request whose bodies may travel in chunks, and wait for its response to begin.

    Args:
        session: Who calls.
        calls: The table of calls.
        subject: The request's subject.
        method: The method.
        target: Path and query, percent-encoded.
        pairs: The headers.
        body: The body, or the pieces of it.
        timeouts: How long to wait.
        limit: Bytes of the response's body, at most.
        sign: Whether it is signed by the user's nkey.

    Raises:
        RpcError: As Peer.call.
        InvalidInput: Method, target or headers can't travel.
    """
    if (trace := trace_of(None)) is not None:
        pairs = traced(pairs, trace)
    connection = session.connection or await _connected(session, timeouts.connect)
    if isinstance(body, bytes) and len(body) < _SMALL_BYTES:
        first, rest = body, None
    else:
        room = connection.limit - head_bytes(method, target, pairs)
        if sign:
            room -= len(session.login.jwt) + _SIGNATURE_BYTES
        first, rest = await _divided(body, min(WHOLE_BYTES, room))
    identity = request_id()
    now = int(time.time() * 1000)
    wait = timeouts.read if timeouts.read is not None else DAY
    window = min(window_bytes(len(calls.streams) + 1), limit + 1)
    payload = open_bytes(
        identity,
        (now, now + math.ceil(wait * 1000), window),
        call_line(method, target),
        pairs,
        first,
        more=rest is not None,
    )
    if sign:
        payload = sealed(payload, subject, session.login)
    opened = Opened(
        session, calls, subject, identity, payload, sent=len(first), window=window, limit=limit,
        sign=sign,
    )  # fmt: skip
    return opened, await opened.begin(rest, timeouts)


async def _connected(session: Session, timeout: float | None) -> Connection:
    try:
        async with asyncio.timeout(timeout):
            return await session.usable()
    except TimeoutError as error:
        raise ConnectTimedOut("there was no connection to nats-server in time") from error


async def _divided(body: Pieces, whole: int) -> tuple[bytes, AsyncIterator[bytes] | None]:
    """What goes with the request, and what follows in chunks, if anything does."""
    if isinstance(body, bytes):
        if len(body) <= whole:
            return body, None
        return b"", _once(body)
    first = await anext(body, None)
    if first is None:
        return b"", None
    if len(first) <= whole:
        return first, body
    return b"", _chain(first, body)


async def _once(piece: bytes) -> AsyncIterator[bytes]:
    yield piece


async def _chain(piece: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield piece
    async for more in rest:
        yield more
