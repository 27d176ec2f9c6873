"""Handlers that stream: generators answer piece by piece, ``AsyncIterator[bytes]`` reads so."""

from __future__ import annotations

import collections.abc
import contextlib
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from typing import Any, cast, get_args, get_origin

import orjson

from authsvc.rpc._loops.threads import Threads
from authsvc.rpc._messages.message import Request, Response
from authsvc.rpc._streams.exchange import Exchange
from authsvc.rpc._streams.streamed import StreamedRequest
from authsvc.rpc._wire.flow import MAX_CONTENT_BYTES

__all__ = ["filled", "is_generator", "streaming", "wants_stream"]

_END: Any = object()


def is_generator(handler: Callable[..., Any]) -> bool:
    """Whether the handler yields its answer."""
    return inspect.isasyncgenfunction(handler) or inspect.isgeneratorfunction(handler)


def wants_stream(hint: Any) -> bool:
    """Whether a parameter of this type gets the body in pieces."""
    kinds = {collections.abc.AsyncIterator, collections.abc.AsyncIterable}
    return get_origin(hint) in kinds and get_args(hint) == (bytes,)


async def filled(request: Request) -> bool:
    """Wait for the whole body; False if it is too large to be held."""
    return await cast("StreamedRequest", request).fill(MAX_CONTENT_BYTES)


def streaming(
    handler: Callable[..., Any], takes: list[Callable[[Request], Any]]
) -> Callable[[Request, Threads], Awaitable[Response]]:
    """How to call a generator: each piece leaves when it is yielded, and may be waited for.

    Args:
        handler: ``async def`` with ``yield``, or ``def``, which then runs in a thread.
        takes: What its parameters get.
    """
    plain = not inspect.isasyncgenfunction(handler)

    async def call(request: Request, threads: Threads) -> Response:
        made = handler(*[take(request) for take in takes])
        items = _threaded(made, threads) if plain else made
        async with contextlib.aclosing(items):
            if request.streamed:
                return await _stream(cast("StreamedRequest", request).exchange, items)
            return await _collect(items)

    return call


async def _threaded(made: Generator[Any], threads: Threads) -> AsyncGenerator[Any]:
    try:
        while (item := await threads.run(lambda: next(made, _END))) is not _END:
            yield item
    finally:
        await threads.run(made.close)


async def _stream(exchange: Exchange, items: AsyncGenerator[Any]) -> Response:
    head, first = await _head(items)
    await exchange.start(head.status, head.pairs, first)
    async for piece in items:
        await exchange.write(_encoded(piece))
    await exchange.write(b"", last=True)
    return head


async def _collect(items: AsyncGenerator[Any]) -> Response:
    head, first = await _head(items)
    pieces, size = [first], len(first)
    async for piece in items:
        pieces.append(_encoded(piece))
        size += len(pieces[-1])
        if size > MAX_CONTENT_BYTES:
            return Response({"detail": "the answer is larger than can be sent at once"}, status=507)
    return Response(b"".join(pieces), status=head.status, headers=head.pairs)


async def _head(items: AsyncIterator[Any]) -> tuple[Response, bytes]:
    """Status and headers, and the first bytes of the body."""
    item = await anext(items, None)
    if isinstance(item, Response):
        return item, item.content
    if item is None:
        return Response(), b""
    kind = "application/x-ndjson"
    if isinstance(item, str):
        kind = "text/plain; charset=utf-8"
    elif isinstance(item, bytes):
        kind = "application/octet-stream"
    return Response(headers={"content-type": kind}), _encoded(item)


def _encoded(item: Any) -> bytes:
    """Bytes and str as they are; anything else is a line of JSON."""
    if isinstance(item, bytes):
        return item
    if isinstance(item, str):
        return item.encode()
    dump = getattr(item, "model_dump_json", None)
    if dump is not None:
        return bytes(dump().encode()) + b"\n"
    return orjson.dumps(item) + b"\n"
