"""Who is let in, and who is told to come later, where more is asked for than can be answered."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import httpx
import pytest

from authsvc.nkey import KeyPair, Prefix
from authsvc.server import app
from authsvc.server.api import gate
from authsvc.server.api.gate import Gate
from authsvc.server.api.refusing import refusal_of
from tests.fixtures.authsvc import LiveService
from tests.fixtures.waiting import until


class Desk:
    """A desk that answers so many in a second, and a clock that is put forward by hand."""

    def __init__(self, speed: float, *, wait: float = 0.1, usual: float = 0.05) -> None:
        self.now = self.waiting = self.done = 0.0
        self.speed = speed
        self.usual = usual
        self.gate = Gate(
            lambda: int(self.waiting),
            lambda: int(self.waiting / 2),  # the others are under way
            lambda: int(self.done),
            lambda: self.usual,
            wait=wait,
            clock=lambda: self.now,
        )

    def offer(self, per_second: float, seconds: float) -> tuple[int, int, float]:
        """Offer so many: how many were let in and refused, and the most that waited at the end."""
        let_in = refused = 0
        most = 0.0
        until = self.now + seconds
        while self.now < until:
            self.now += 1 / per_second
            finished = min(self.waiting, self.speed / per_second)
            self.waiting -= finished
            self.done += finished
            if self.gate.has_room():
                let_in += 1
                self.waiting += 1
            else:
                refused += 1
            if self.now > until - seconds / 4:
                most = max(most, self.waiting)
        return let_in, refused, most


def test_below_capacity_nobody_is_refused() -> None:
    assert Desk(2000).offer(1900, 5)[1] == 0


def test_a_burst_is_taken_as_it_comes() -> None:
    desk = Desk(2000)
    assert desk.offer(10_000, 0.1)[1] == 0  # a thousand in a tenth of a second
    assert desk.waiting > 500
    assert desk.offer(100, 1)[1] == 0


def test_at_three_times_capacity_as_many_are_answered_as_can_be_and_wait_little() -> None:
    desk = Desk(2000)
    let_in, refused, most = desk.offer(6000, 4)
    assert let_in > 0.97 * 2000 * 4
    assert refused > 1.9 * 2000 * 4 - 1500
    assert most <= 0.1 * 2000 + 2
    # Afterwards it is as if nothing had been.
    assert desk.offer(1500, 3)[1] == 0
    assert desk.offer(10_000, 0.1)[1] == 0


@pytest.mark.parametrize(("speed", "usual"), [(2000, 0.01), (1000, 0.02), (200, 0.3)])
def test_whoever_is_let_in_waits_twice_as_long_as_usual_at_most(speed: int, usual: float) -> None:
    let_in, refused, most = Desk(speed, wait=1, usual=usual).offer(3 * speed, 8)
    assert most <= max(2 * usual * speed, 16) + 2
    assert let_in > 0.97 * speed * 8
    assert refused > speed * 8


def test_what_is_usual_is_not_learnt_from_those_who_had_to_wait() -> None:
    desk = Desk(2000, wait=1, usual=0.01)
    for _ in range(20):
        let_in, _, most = desk.offer(6000, 1)
        desk.usual = most / desk.speed  # as the desk measures it, whoever came
    assert most <= 2 * 0.01 * 2000 + 2
    assert let_in > 0.97 * 2000


def test_who_is_let_in_at_once_counts_before_the_desk_knows_of_it() -> None:
    desk = Desk(2000, usual=0)
    desk.offer(6000, 4)
    desk.waiting = 0
    assert desk.gate.shut
    let_in = 0
    while desk.gate.lets_in():
        let_in += 1
    assert let_in == 8


def test_a_slow_desk_is_never_left_without_work() -> None:
    let_in, _, most = Desk(100).offer(300, 5)
    assert most <= 129
    assert let_in > 450


@pytest.fixture
def gates(monkeypatch: pytest.MonkeyPatch) -> list[Gate]:
    """The gates of services that are started from now on."""
    made: list[Gate] = []

    def make(*given: Callable[[], float]) -> Gate:
        made.append(Gate(*given))  # type: ignore[arg-type]
        return made[-1]

    monkeypatch.setattr(app, "Gate", make)
    return made


async def _status(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(it for it in head.lower().split(b"\r\n") if it.startswith(b"content-length:"))
    await reader.readexactly(int(length.split()[1]))
    return int(head.split()[1])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_requests_of_one_moment_are_let_in_as_far_as_there_is_room(
    gates: list[Gate], service: LiveService
) -> None:
    (found,) = gates
    port = service.settings.port
    lines = [await asyncio.open_connection("127.0.0.1", port) for _ in range(24)]
    for reader, writer in lines:  # which shows that the service has taken the connection
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await _status(reader) == 200
    found.shut, found._refused_at = True, time.perf_counter()
    for _, writer in lines:
        writer.write(WHOLE)
    statuses = Counter([await _status(reader) for reader, _ in lines])
    # Without a token, who is let in gets no further.
    assert statuses == {401: 8, 503: 16}
    assert found.coming == 0
    for _, writer in lines:
        writer.close()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_rest_are_told_at_once_and_health_and_admin_go_on(
    service: LiveService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "_FEWEST", 32)
    desk, admin = service.running.desk, await service.api_key("admin")
    refused: list[httpx.Response] = []

    async def ask() -> int:
        answer = await service.login("alice@example.com", KeyPair.generate(Prefix.USER))
        if answer.status_code == 503:
            refused.append(answer)
        return answer.status_code

    async def one_more() -> bool:
        asked.append(asyncio.create_task(ask()))
        return bool(refused)

    async with service.running.database.writing() as session:
        await session.connection()  # which begins, so that nobody else commits meanwhile
        asked = [asyncio.create_task(ask()) for _ in range(33)]
        await until(one_more)
        assert desk.pending() >= 32
        assert (await service.http.get("/healthz")).status_code == 200
    users = await service.admin("GET", "/v1/admin/users", key=admin)
    assert users.status_code == 200
    problem = refused[0].json()
    assert (problem["type"], problem["status"]) == ("urn:authsvc:problem:overloaded", 503)
    assert refused[0].headers["retry-after"] == "1"
    assert set(await asyncio.gather(*asked)) == {201, 503}


WHOLE = b"POST /v1/credentials HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


def test_a_whole_request_is_refused_from_its_bytes() -> None:
    answer = refusal_of(WHOLE, [(b"date", b"now")])
    assert answer is not None
    head, _, content = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert f"content-length: {len(content)}\r\n".encode() in head
    assert b"date: now" in head
    assert b"retry-after: 1" in head


@pytest.mark.parametrize(
    "data",
    [
        WHOLE + b"G",  # another one behind it
        WHOLE[:-1],  # not all of it
        WHOLE.replace(b"Content", b"X"),  # no length
        WHOLE.replace(b"Host: x", b"Content-Length: 2"),  # two
        WHOLE.replace(b"Host: x", b"Transfer-Encoding: chunked"),
        WHOLE.replace(b"Host: x", b"Connection: close"),
        WHOLE.replace(b": 2", b":2"),  # right, but not in the one spelling
        WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0"),
        WHOLE.replace(b"credentials", b"credentials/x"),
        WHOLE.replace(b"POST", b"GET"),
    ],
)
def test_anything_else_is_read_as_ever(data: bytes) -> None:
    assert refusal_of(data, []) is None
