"""Metrics of apps: calls and handlers, by app, method and what came of them."""

from __future__ import annotations

import sys

import pytest
from prometheus_client import CollectorRegistry

from authsvc.errors import NoResponder
from authsvc.prometheus import call_metrics, request_metrics
from authsvc.rpc import AsyncClient, Service
from tests.rpc.conftest import People


async def test_calls_and_handlers_are_counted(people: People) -> None:
    here, there = CollectorRegistry(), CollectorRegistry()
    service = Service("pingpong", middleware=[request_metrics(there)])

    @service.on_request("/ping", methods=["GET", "POST"])
    async def ping() -> dict[str, int]:
        in_flight = there.get_sample_value("authsvc_rpc_requests_in_flight", {"app": "pingpong"})
        return {"in_flight": int(in_flight or 0)}

    @service.on_request("/fails")
    async def fails() -> None:
        raise ValueError("reason")

    bob = await people.client("bob")
    await people.serve(service, bob)
    creds = people.kit.user_creds(people.name("alice"))
    alice = await people.made(AsyncClient, creds, middleware=[call_metrics(here)])
    peer = alice.peer(bob.username, "pingpong")
    assert (await peer.call("/ping")).json() == {"in_flight": 1}
    assert (await peer.call("/fails")).status == 500
    with pytest.raises(NoResponder):
        await alice.peer(bob.username, "nothing").call("/ping")

    def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"authsvc_rpc_{name}", labels)

    app = {"app": "pingpong", "method": "POST"}
    assert value(there, "requests_total", **app, status="200") == 1
    assert value(there, "requests_total", **app, status="500") == 1
    assert value(there, "request_duration_seconds_count", app="pingpong") == 2
    assert value(there, "requests_in_flight", app="pingpong") == 0
    assert value(here, "calls_total", **app, outcome="200") == 1
    nobody = {"app": "nothing", "method": "POST", "outcome": "NoResponder"}
    assert value(here, "calls_total", **nobody) == 1
    assert value(here, "call_duration_seconds_count", app="pingpong") == 2
    # Asked for again, the same ones: a registry has each name once.
    request_metrics(there)


def test_without_prometheus_client_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    for make in (request_metrics, call_metrics):
        with pytest.raises(RuntimeError, match=r"authsvc\[prometheus\]"):
            make()
