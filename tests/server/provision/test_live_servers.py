"""Who counts as live."""

from __future__ import annotations

import pytest

from authsvc.server.provision import live_servers
from authsvc.server.provision.answers import Server
from authsvc.server.provision.live_servers import LiveServers


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(live_servers, "time", found)
    return found


def server(name: str, start: int = 1) -> Server:
    return Server(f"N{name}{start}", name, "2.15.1")


def names(live: LiveServers) -> list[str]:
    return [it.name for it in live.servers()]


def test_a_server_is_news_once(clock: Clock) -> None:
    live = LiveServers()
    assert live.note(server("a"))
    clock.now += 5
    assert not live.note(server("a"))
    assert live.awake() == {"Na1"}


def test_one_that_starts_again_takes_its_own_place(clock: Clock) -> None:
    live = LiveServers()
    for name in ("b", "a"):
        live.note(server(name))
    clock.now += 1
    assert live.note(server("a", 2))
    assert [it.id for it in live.servers()] == ["Na2", "Nb1"]


def test_one_that_is_silent_counts_for_ten_minutes_and_is_news_again(clock: Clock) -> None:
    live = LiveServers()
    live.note(server("a"))
    live.missed({"Na1", "unknown"})
    assert (names(live), live.awake()) == (["a"], set())
    clock.now += 599
    assert names(live) == ["a"]
    assert live.note(server("a"))
    assert live.awake() == {"Na1"}
    live.missed({"Na1"})
    clock.now += 601
    assert names(live) == []


def test_one_that_said_goodbye_counts_for_a_minute(clock: Clock) -> None:
    live = LiveServers()
    live.note(server("a"))
    live.left("Na1")
    live.left("unknown")
    assert (names(live), live.awake()) == (["a"], set())
    clock.now += 61
    assert names(live) == []
