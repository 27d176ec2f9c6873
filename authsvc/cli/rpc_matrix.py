"""``authsvc rpc ping --matrix``: does an answer come, whoever of the two is away?

Both sides run here, on connections of their own; who is offline is one whose connection is
closed. Responder and requester may be one person: everything goes through nats-server anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from authsvc.errors import AuthsvcError, DeadlineExceeded, RpcError
from authsvc.nkey import KeyPair, Prefix
from authsvc.rpc import AsyncClient, Request, Service

__all__ = ["Cell", "as_dicts", "measure", "table"]

_SECONDS = 30.0
_EXPIRES = "5m"


@dataclass(frozen=True, slots=True)
class Cell:
    """One of the four.

    Args:
        requester: Whether the requester stays connected.
        responder: Whether the responder is there when it is asked.
        ms: By name, how long it took: ``live``, or ``stored``, from when it is sent, or where one
            was away from when that one begins to connect.
        error: Why there was no answer.
    """

    requester: bool
    responder: bool
    ms: dict[str, float]
    error: str | None = None


class _Pair:
    """The two, and the app between them.

    Args:
        requester: Credentials, as AsyncClient takes them.
        responder: The same for who answers.
    """

    def __init__(self, requester: dict[str, Any], responder: dict[str, Any]) -> None:
        self.requester, self.responder = _keyed(requester), _keyed(responder)
        self.app = f"ping-{secrets.token_hex(4)}"
        self.name = ""
        self.gate = asyncio.Event()
        self.handled = asyncio.Event()

    def client(self) -> AsyncClient:
        """A new connection of the requester."""
        return AsyncClient(name="authsvc rpc ping", **self.requester)

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[Service]:
        """The responder is online meanwhile."""
        service = Service(self.app, offline=True)

        @service.on_request("/ping")
        async def ping(request: Request) -> dict[str, Any]:
            self.handled.set()
            await self.gate.wait()
            return {"pong": request.json()["n"]}

        async with AsyncClient(name="authsvc rpc ping", **self.responder) as client:
            self.name = client.username
            serving = asyncio.create_task(service.serve(client))
            try:
                await service.ready()
                yield service
            finally:
                await service.stop()
                await serving

    async def forget(self) -> None:
        """Remove the app that was made for this."""
        async with AsyncClient(name="authsvc rpc ping", **self.responder) as client:
            api, login = client.session.api, client.session.login
            if api is not None:
                await api.delete_app(login.jwt, self.app)


async def measure(requester: dict[str, Any], responder: dict[str, Any]) -> list[Cell]:
    """All four, one after the other.

    Raises:
        AuthsvcError: One of them can't connect at all.
    """
    pair = _Pair(requester, responder)
    try:
        return [
            await _cell(both, pair, requester=True, responder=True),
            await _cell(responder_away, pair, requester=True, responder=False),
            await _cell(requester_away, pair, requester=False, responder=True),
            await _cell(both_away, pair, requester=False, responder=False),
        ]
    finally:
        with contextlib.suppress(AuthsvcError):
            await pair.forget()


async def _cell(
    case: Callable[[_Pair], Awaitable[dict[str, float]]],
    pair: _Pair,
    *,
    requester: bool,
    responder: bool,
) -> Cell:
    pair.gate.set()
    pair.handled.clear()
    try:
        async with asyncio.timeout(2 * _SECONDS):
            return Cell(requester, responder, await case(pair))
    except (RpcError, TimeoutError) as error:
        return Cell(requester, responder, {}, f"{type(error).__name__}: {error}")


async def both(pair: _Pair) -> dict[str, float]:
    """Both are there: a live call, and a stored one."""
    async with pair.answering(), pair.client() as client:
        peer = client.peer(pair.name, pair.app)
        _check(await peer.call("/ping", json={"n": 0}, timeout=_SECONDS), 0)
        # The first one makes what keeps it.
        first = await peer.submit("/ping", json={"n": 1}, expires=_EXPIRES)
        _check(await first.result(_SECONDS), 1)
        start = time.perf_counter()
        _check(await peer.call("/ping", json={"n": 2}, timeout=_SECONDS), 2)
        live = _since(start)
        start = time.perf_counter()
        future = await peer.submit("/ping", json={"n": 3}, expires=_EXPIRES)
        _check(await future.result(_SECONDS), 3)
        return {"live": live, "stored": _since(start)}


async def responder_away(pair: _Pair) -> dict[str, float]:
    """The responder comes after the request."""
    async with pair.client() as client:
        future = await client.peer(pair.name, pair.app).submit(
            "/ping", json={"n": 4}, expires=_EXPIRES
        )
        start = time.perf_counter()
        async with pair.answering():
            _check(await future.result(_SECONDS), 4)
            return {"stored": _since(start)}


async def requester_away(pair: _Pair) -> dict[str, float]:
    """The requester goes before the answer and comes back after it."""
    pair.gate.clear()
    async with pair.answering() as service:
        async with pair.client() as client:
            peer = client.peer(pair.name, pair.app)
            future_id = (await peer.submit("/ping", json={"n": 5}, expires=_EXPIRES)).id
            await pair.handled.wait()
        pair.gate.set()
        await _answered(service)
        return await _collected(pair, future_id, 5)


async def both_away(pair: _Pair) -> dict[str, float]:
    """They are never there at the same time."""
    async with pair.client() as client:
        peer = client.peer(pair.name, pair.app)
        future_id = (await peer.submit("/ping", json={"n": 6}, expires=_EXPIRES)).id
    async with pair.answering() as service:
        await _answered(service)
    return await _collected(pair, future_id, 6)


async def _collected(pair: _Pair, future_id: str, n: int) -> dict[str, float]:
    start = time.perf_counter()
    async with pair.client() as client:
        _check(await client.future(future_id).result(_SECONDS), n)
        return {"stored": _since(start)}


async def _answered(service: Service) -> None:
    """Wait until the responder's answer is stored."""
    end = time.monotonic() + _SECONDS
    while service.stats.responses == 0:
        if time.monotonic() > end:
            raise DeadlineExceeded("the stored request was not answered in time")
        await asyncio.sleep(0.005)


def _check(response: Any, n: int) -> None:
    if response.raise_for_status().json() != {"pong": n}:
        raise RpcError("an answer is not the one to its request")


def _since(start: float) -> float:
    return round((time.perf_counter() - start) * 1000, 2)


def _keyed(arguments: dict[str, Any]) -> dict[str, Any]:
    """The same nkey for each connection, so that one credential serves all."""
    if arguments.get("token") and not arguments.get("key"):
        return arguments | {"key": KeyPair.generate(Prefix.USER)}
    return arguments


def as_dicts(cells: list[Cell]) -> list[dict[str, Any]]:
    """For JSON."""
    words = {True: "online", False: "offline"}
    return [
        {
            "requester": words[cell.requester],
            "responder": words[cell.responder],
            "ok": cell.error is None,
            "ms": cell.ms,
            "error": cell.error,
        }
        for cell in cells
    ]


def table(cells: list[Cell]) -> list[tuple[str, str, str]]:
    """Rows: the requester's state, then what came of it by the responder's."""

    def shown(cell: Cell) -> str:
        if cell.error is not None:
            return cell.error
        return ", ".join(f"{name} {ms:.2f} ms" for name, ms in cell.ms.items())

    by_state = {(cell.requester, cell.responder): shown(cell) for cell in cells}
    return [
        (f"requester {name}", by_state[state, True], by_state[state, False])
        for name, state in (("online", True), ("offline", False))
    ]
