"""Retries: only what is marked, within the time that there is, with pauses."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from authsvc.rpc import (
    AsyncClient,
    Disconnected,
    NoResponder,
    Outgoing,
    RemoteError,
    Request,
    Response,
    Retry,
    Service,
)
from tests.rpc.conftest import People

CALL = Outgoing("bob", "app", "POST", "/", Response(b"").headers, b"", 5.0, idempotent=True)


class Sent:
    """Fails so often, then answers."""

    def __init__(self, *outcomes: Exception | Response) -> None:
        self.outcomes = list(outcomes)
        self.calls: list[tuple[float, Outgoing]] = []

    async def __call__(self, call: Outgoing) -> Response:
        self.calls.append((time.monotonic(), call))
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


async def test_what_is_marked_is_sent_again_with_growing_pauses() -> None:
    sent = Sent(Disconnected("x"), Response(b"", status=503), Response(b"yes"))
    response = await Retry(first=0.04)(CALL, sent)
    assert response.content == b"yes"
    (one, _), (two, _), (three, last) = sent.calls
    assert two - one >= 0.02
    assert three - two >= 0.04
    assert last.timeout <= 5.0 - 0.06


async def test_what_is_not_marked_is_sent_once() -> None:
    sent = Sent(Disconnected("x"), Response(b"yes"))
    with pytest.raises(Disconnected):
        await Retry()(CALL.changed(idempotent=False), sent)
    sent = Sent(Response(b"", status=503), Response(b"yes"))
    assert (await Retry()(CALL.changed(idempotent=False), sent)).status == 503


@pytest.mark.parametrize(
    ("outcome", "options", "sends"),
    [
        (Disconnected("x"), {"attempts": 1}, 1),
        (Disconnected("x"), {"attempts": 4}, 4),
        (NoResponder("x"), {}, 1),
        (NoResponder("x"), {"no_responder": True}, 3),
        (RemoteError(500), {}, 1),
        (Response(b"", status=500), {}, 1),
        (Response(b"", status=500), {"statuses": (500,)}, 3),
        (Response(b"", status=503), {"statuses": ()}, 1),
    ],
)
async def test_how_often_it_is_sent(outcome: Any, options: dict[str, Any], sends: int) -> None:
    sent = Sent(*[outcome] * 5)
    if isinstance(outcome, Exception):
        with pytest.raises(type(outcome)):
            await Retry(first=0.001, **options)(CALL, sent)
    else:
        assert await Retry(first=0.001, **options)(CALL, sent) is outcome
    assert len(sent.calls) == sends


async def test_no_try_is_made_that_would_end_after_the_deadline() -> None:
    sent = Sent(*[Disconnected("x")] * 100)
    with pytest.raises(Disconnected):
        await Retry(100, first=0.1)(CALL.changed(timeout=0.01), sent)
    assert len(sent.calls) == 1
    late = Response(b"", status=503, headers={"retry-after": "60"})
    sent = Sent(late, late)
    assert await Retry()(CALL, sent) is late
    assert len(sent.calls) == 1
    soon = Response(b"", status=503, headers={"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"})
    sent = Sent(soon, Response(b"yes"))
    assert (await Retry(first=0.001)(CALL, sent)).content == b"yes"


@pytest.mark.parametrize("options", [{"attempts": 0}, {"first": -1}, {"first": 3, "most": 2}])
def test_numbers_out_of_bounds_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="attempts"):
        Retry(**options)


async def test_a_responder_that_starts_meanwhile_is_found(people: People) -> None:
    bob = await people.client("bob")
    retry = Retry(1000, first=0.01, most=0.02, no_responder=True)
    creds = people.kit.user_creds(people.name("alice"))
    alice = await people.made(AsyncClient, creds, middleware=[retry])
    peer = alice.peer(bob.username, "later")
    task = asyncio.create_task(peer.call("/", timeout=20, idempotent=True))
    while not alice.stats.no_responder:
        assert not task.done()
        await asyncio.sleep(0.01)
    service = Service("later")

    @service.on_request("/")
    async def later(request: Request) -> str:
        return request.id

    await people.serve(service, bob)
    assert (await task).is_success
