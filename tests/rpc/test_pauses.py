"""Who is cut off again and again comes back more and more slowly."""

from __future__ import annotations

import asyncio
import time

import pytest

from authsvc.rpc import AsyncClient, DeadlineExceeded, Disconnected, NoResponder
from authsvc.rpc._session import pauses
from authsvc.rpc._session.pauses import LASTING_SECONDS, LONGEST_SECONDS, Pauses
from authsvc.server import metrics
from tests.fixtures.authsvc import StartService, access_token
from tests.fixtures.waiting import until

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_short_connections_double_the_pause_up_to_a_bound() -> None:
    found, now = Pauses(), 100.0
    waits = []
    for _ in range(12):
        found.made(now)
        now += LASTING_SECONDS - 1
        waits.append(found.broke(now))
    assert waits[0] == 0  # a server that restarts
    assert 0.75 <= waits[1] <= 1 < waits[2] <= 2 < waits[3] <= 4
    assert all(0.75 * LONGEST_SECONDS <= wait <= LONGEST_SECONDS for wait in waits[8:])


def test_one_that_lasted_comes_back_at_once() -> None:
    found = Pauses()
    for _ in range(5):
        found.made(0)
        found.broke(1)
    found.made(100)
    assert found.broke(100 + LASTING_SECONDS) == 0
    assert found.in_a_row == 0


@on_sqlite
async def test_a_client_that_is_too_much_backs_off_and_stays_when_there_is_room(
    start_service: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pauses, "LONGEST_SECONDS", 1.0)
    service = await start_service(user_max_connections=1)
    before = metrics.KICKED.labels("limit")._value.get()

    def kicks() -> float:
        return float(metrics.KICKED.labels("limit")._value.get() - before)

    first, second = (
        AsyncClient(service.url, token=access_token("alice@example.com")) for _ in range(2)
    )
    await first.connect()
    await second.connect()
    try:
        await until(lambda: kicks() == 3, 10)
        with pytest.raises(DeadlineExceeded):
            await second.peer("bob@example.com", "echo").call("/", timeout=0.1)
        began = time.monotonic()
        await until(lambda: kicks() == 4, 10)
        assert time.monotonic() - began > 0.7
        assert first.session.connection is not None
        await first.close()

        async def stays() -> bool:
            try:
                await second.peer("bob@example.com", "echo").call("/", timeout=1)
            except NoResponder:
                return True
            except (Disconnected, DeadlineExceeded):
                return False
            return False

        await until(stays, 5)
        began = time.monotonic()
        while time.monotonic() < began + 0.6:
            assert await stays()
            await asyncio.sleep(0.05)
        assert kicks() == 4
    finally:
        await first.close()
        began = time.monotonic()
        await second.close()
    assert time.monotonic() - began < 1


@on_sqlite
async def test_one_that_waits_to_come_back_is_closed_at_once(start_service: StartService) -> None:
    service = await start_service(user_max_connections=1)
    first, second = (
        AsyncClient(service.url, token=access_token("alice@example.com")) for _ in range(2)
    )
    await first.connect()
    await second.connect()
    before = metrics.KICKED.labels("limit")._value.get()
    await until(lambda: metrics.KICKED.labels("limit")._value.get() >= before + 2, 10)
    began = time.monotonic()
    await second.close()
    await first.close()
    assert time.monotonic() - began < 0.5
