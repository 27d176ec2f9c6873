"""Services: handlers of every kind, who may call, how one request leaves others alone."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from typing import Any

import pytest
from pydantic import BaseModel

from authsvc.errors import InvalidName
from authsvc.rpc import (
    DeadlineExceeded,
    NoResponder,
    Peer,
    PermissionDenied,
    RemoteError,
    Request,
    Response,
    Service,
)
from tests.rpc.conftest import Eventually, People


class Sum(BaseModel):
    a: int
    b: int


class Total(BaseModel):
    total: int


async def pair(people: People, service: Service) -> Peer:
    """Bob serves; alice's way to call it."""
    bob = await people.client("bob")
    await people.serve(service, bob)
    alice = await people.client("alice")
    return alice.peer(bob.username, service.name)


async def test_handlers_get_what_their_type_hints_ask_for(people: People) -> None:
    service = Service("kinds")

    @service.on_request("/dict")
    async def of_dict(body: dict[str, Any]) -> dict[str, Any]:
        return {"got": body}

    @service.on_request("/list")
    def of_list(body: list[int]) -> list[int]:
        return [*body, len(body)]

    @service.on_request("/str")
    def of_str(body: str) -> str:
        return body.upper()

    @service.on_request("/bytes")
    async def of_bytes(body: bytes) -> bytes:
        return body[::-1]

    @service.on_request("/model")
    async def of_model(body: Sum, request: Request) -> Total:
        assert request.path == "/model"
        return Total(total=body.a + body.b)

    @service.on_request("/nothing")
    def of_nothing(limit: int = 5, *_: object, flag: bool = False) -> None:
        assert (limit, flag) == (5, False)

    @service.on_request("/response", methods=["GET", "put"])
    async def of_response(request):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        seen = [request.method, request.path, request.query, request.headers.get_all("X-A")]
        return Response(seen, status=201, headers=[("set-cookie", "a=1"), ("set-cookie", "b=2")])

    peer = await pair(people, service)
    assert (await peer.call("/dict", json={"n": [1]})).json() == {"got": {"n": [1]}}
    assert (await peer.call("/list", json=[5, 6])).json() == [5, 6, 2]
    answer = await peer.call("/str", content="grüße")
    assert answer.text == "GRÜSSE"
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert (await peer.call("/bytes", content=b"\0\xff\r\n\r\n")).content == b"\n\r\n\r\xff\0"
    assert (await peer.call("/model", json={"a": 1, "b": 2})).json() == {"total": 3}
    assert (await peer.call("/nothing")).content == b""
    answer = await peer.call("/response?a=b&c", method="GET", headers=[("x-a", "1"), ("X-A", "2")])
    assert answer.status == 201
    assert answer.json() == ["GET", "/response", "a=b&c", ["1", "2"]]
    assert answer.headers.get_all("set-cookie") == ["a=1", "b=2"]
    assert (await peer.call("response", method="PUT")).status == 201


async def test_models_beside_a_local_handler_are_found(people: People) -> None:
    class Local(BaseModel):
        n: int

    service = Service("local")

    @service.on_request("/n")
    def n(body: Local) -> int:
        return body.n + 1

    peer = await pair(people, service)
    assert (await peer.call("/n", json={"n": 1})).json() == 2


async def test_what_cannot_be_handled_is_answered_with_its_status(people: People) -> None:
    service = Service("statuses")

    @service.on_request("/model")
    async def model(body: Sum) -> int:
        return body.a

    @service.on_request("/dict")
    async def of_dict(body: dict[str, Any]) -> None:
        raise ValueError("the secret is 42")

    @service.on_request("/str")
    async def of_str(body: str) -> str:
        return body

    @service.on_request("/odd")
    async def odd() -> object:
        return object()

    @service.on_request("/headers")
    async def headers() -> Response:
        return Response(b"", headers={"x": "a\r\nb"})

    @service.on_request("/status")
    async def status() -> Response:
        return Response(b"", status=99)

    peer = await pair(people, service)
    for body in ({"a": "x"}, {"a": 1}, [1], "text"):
        refused = await peer.call("/model", json=body)
        assert refused.status == 422
        assert refused.json()["errors"]
    assert (await peer.call("/model", content=b"\xff")).status == 422
    assert (await peer.call("/dict", content=b"{")).status == 422
    assert (await peer.call("/dict", json=[1])).status == 422
    assert (await peer.call("/str", content=b"\xff")).status == 422
    assert (await peer.call("/none")).status == 404
    answer = await peer.call("/model", method="GET")
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"
    for path in ("/dict", "/odd", "/headers", "/status"):
        failed = await peer.call(path, json={})
        assert failed.status == 500
        assert failed.json() == {"detail": "the responder failed"}
        with pytest.raises(RemoteError) as caught:
            failed.raise_for_status()
        assert caught.value.status == 500
        assert "secret" not in str(caught.value)
    assert service.stats.errors == 4


async def test_who_may_call_is_asked_before_the_handler(people: People) -> None:
    alice = people.name("alice")
    called: list[str] = []
    service = Service("allowed", allow=lambda name: name.endswith("@example.com"))

    @service.on_request("/names", allow=["  ALICE@x.com", alice.upper()])
    async def names() -> None:
        called.append("names")

    @service.on_request("/nobody", allow=())
    async def nobody() -> None:
        called.append("nobody")

    async def async_rule(request: Request) -> bool:
        return request.headers.get("x-key") == "1"

    @service.on_request("/rule", allow=async_rule)
    async def rule() -> None:
        called.append("rule")

    @service.on_request("/broken", allow=lambda _: 1 / 0)
    async def broken() -> None:
        called.append("broken")

    @service.on_request("/truthy", allow=lambda _: "no")
    async def truthy() -> None:
        called.append("truthy")

    peer = await pair(people, service)
    assert (await peer.call("/names")).status == 200
    assert (await peer.call("/nobody")).status == 403
    assert (await peer.call("/rule")).status == 403
    assert (await peer.call("/rule", headers={"X-Key": "1"})).status == 200
    assert (await peer.call("/broken")).status == 500
    assert (await peer.call("/truthy")).status == 403
    assert called == ["names", "rule"]
    carol = await people.client("carol")
    other = carol.peer(peer.name, "allowed")
    assert (await other.call("/names")).status == 403

    closed = Service("closed", allow=[alice])
    bob = people.clients[0]
    await people.serve(closed, bob)
    # Who may not call learns not even which paths there are.
    assert (await carol.peer(bob.username, "closed").call("/nothing")).status == 403
    assert (await people.clients[1].peer(bob.username, "closed").call("/nothing")).status == 404


async def test_plain_functions_hold_nobody_up(people: People) -> None:
    service = Service("threads")
    threads: set[int] = set()

    @service.on_request("/sleep")
    def sleep() -> None:
        threads.add(threading.get_ident())
        time.sleep(0.1)

    @service.on_request("/quick")
    async def quick() -> None:
        pass

    peer = await pair(people, service)
    start = time.monotonic()
    slow = [asyncio.create_task(peer.call("/sleep")) for _ in range(10)]
    await asyncio.sleep(0.02)
    await peer.call("/quick")
    assert time.monotonic() - start < 0.09
    await asyncio.gather(*slow)
    assert time.monotonic() - start < 0.5
    assert threading.get_ident() not in threads


async def test_requests_run_side_by_side_up_to_the_limit(people: People) -> None:
    service = Service("side", concurrency=4)
    running = highest = 0

    @service.on_request("/wait")
    async def wait() -> None:
        nonlocal running, highest
        running += 1
        highest = max(highest, running)
        await asyncio.sleep(0.05)
        running -= 1

    peer = await pair(people, service)
    await asyncio.gather(*[peer.call("/wait") for _ in range(12)])
    assert highest == 4

    wide = Service("wide")

    @wide.on_request("/wait")
    async def sleep() -> None:
        await asyncio.sleep(0.1)

    bob = people.clients[0]
    await people.serve(wide, bob)
    peer = people.clients[1].peer(bob.username, "wide")
    start = time.monotonic()
    await asyncio.gather(*[peer.call("/wait") for _ in range(10)])
    assert time.monotonic() - start < 0.15


async def test_one_handler_leaves_the_others_alone(people: People) -> None:
    service = Service("isolated", concurrency=1)
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="clean")

    @service.on_request("/cancel")
    async def cancel() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)

    @service.on_request("/awaits-cancelled")
    async def awaits_cancelled() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    @service.on_request("/timeout")
    async def timeout() -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(5)
        except TimeoutError:
            return "timed out"
        return "not"

    @service.on_request("/variable")
    async def set_variable() -> str:
        before = variable.get()
        variable.set("dirty")
        return before

    @service.on_request("/exit")
    async def leave() -> None:
        raise KeyError("x")

    peer = await pair(people, service)
    for _ in range(3):
        assert (await peer.call("/cancel", timeout=2)).status == 500
        assert (await peer.call("/awaits-cancelled", timeout=2)).status == 500
        assert (await peer.call("/exit", timeout=2)).status == 500
        assert (await peer.call("/timeout", timeout=2)).text == "timed out"
        assert (await peer.call("/variable", timeout=2)).text == "clean"


async def test_an_expired_request_is_not_handled(people: People) -> None:
    service = Service("late", concurrency=1)
    handled: list[str] = []
    remaining: list[float] = []

    @service.on_request("/slow")
    async def slow(request: Request) -> None:
        remaining.append(request.remaining())
        await asyncio.sleep(0.4)

    @service.on_request("/quick")
    async def quick(request: Request) -> None:
        handled.append(request.id)

    peer = await pair(people, service)
    first = asyncio.create_task(peer.call("/slow", timeout=3))
    await asyncio.sleep(0.05)
    start = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught:
        await peer.call("/quick", timeout=0.2)
    assert isinstance(caught.value, TimeoutError)
    assert 0.2 <= time.monotonic() - start < 0.3
    await first
    await peer.call("/quick", timeout=1)
    assert len(handled) == 1
    assert service.stats.expired == 1
    assert 2.5 < remaining[0] <= 3


async def test_an_answer_that_is_too_large_is_an_error_at_once(people: People) -> None:
    service = Service("large")

    @service.on_request("/large")
    async def large() -> bytes:
        return b"x" * 9_000_000

    peer = await pair(people, service)
    start = time.monotonic()
    answer = await peer.call("/large", timeout=20)
    assert answer.status == 507
    assert "larger" in answer.json()["detail"]
    assert time.monotonic() - start < 5


async def test_two_responders_share_and_starting_twice_is_refused(people: People) -> None:
    seen: list[str] = []

    def worker(name: str) -> Service:
        service = Service("shared")

        @service.on_request("/work")
        async def work() -> None:
            seen.append(name)

        return service

    one, two = worker("one"), worker("two")
    bob = await people.client("bob")
    await people.serve(one, bob)
    await people.serve(two, await people.client("bob"))
    with pytest.raises(RuntimeError, match="already"):
        await one.serve(bob)
    alice = await people.client("alice")
    peer = alice.peer(bob.username, "shared")
    await asyncio.gather(*[peer.call("/work") for _ in range(60)])
    assert len(seen) == 60
    assert set(seen) == {"one", "two"}


async def test_stopping_finishes_what_is_in_flight(people: People, eventually: Eventually) -> None:
    service = Service("drain")
    begun: list[str] = []

    @service.on_request("/slow")
    async def slow(request: Request) -> str:
        begun.append(request.id)
        await asyncio.sleep(0.3)
        return "done"

    bob = await people.client("bob")
    serving = await people.serve(service, bob)
    alice = await people.client("alice")
    peer = alice.peer(bob.username, "drain")
    calls = [asyncio.create_task(peer.call("/slow")) for _ in range(5)]
    await eventually(lambda: len(begun) == 5)
    await service.stop()
    assert [(await call).text for call in calls] == ["done"] * 5
    await serving
    with pytest.raises(NoResponder):
        await peer.call("/slow")
    # And it can be served again.
    await people.serve(service, bob)
    assert (await peer.call("/slow")).text == "done"


async def test_cancelling_serve_drains_too(people: People, eventually: Eventually) -> None:
    service = Service("cancelled")
    begun = asyncio.Event()

    @service.on_request("/slow")
    async def slow() -> str:
        begun.set()
        await asyncio.sleep(0.2)
        return "done"

    bob = await people.client("bob")
    serving = await people.serve(service, bob)
    alice = await people.client("alice")
    call = asyncio.create_task(alice.peer(bob.username, "cancelled").call("/slow"))
    await begun.wait()
    serving.cancel()
    assert (await call).text == "done"
    with pytest.raises(asyncio.CancelledError):
        await serving


async def test_ready_is_told(people: People) -> None:
    told: list[str] = []

    async def later() -> None:
        told.append("serve")

    service = Service("ready", on_ready=lambda: told.append("service"))
    bob = await people.client("bob")
    task = asyncio.create_task(service.serve(bob, on_ready=later))
    await asyncio.wait_for(service.ready(), 5)
    await asyncio.sleep(0)
    assert told == ["service", "serve"]
    await service.stop()
    await task


async def test_a_user_who_may_not_answer_is_told(people: People) -> None:
    bob = await people.client("bob", app="other")
    with pytest.raises(PermissionDenied):
        await Service("mine").serve(bob)
    other = Service("other")

    @other.on_request("/x")
    async def x() -> str:
        return "x"

    await people.serve(other, bob)
    alice = await people.client("alice", app="other")
    assert (await alice.peer(bob.username, "other").call("/x")).text == "x"
    with pytest.raises(PermissionDenied):
        await alice.peer(bob.username, "mine").call("/x", timeout=5)


def test_handlers_that_cannot_be_are_refused_early() -> None:
    service = Service(" App ")
    assert service.name == "app"
    with pytest.raises(InvalidName):
        Service("")
    with pytest.raises(ValueError, match="at least 1"):
        Service("x", concurrency=0)

    def number(n: int) -> None: ...

    def keyword(*, request: Request) -> None: ...

    def fine() -> None: ...

    for handler in (number, keyword):
        with pytest.raises(TypeError):
            service.on_request("/x")(handler)
    for methods in ((), "G T", [""]):
        with pytest.raises(ValueError, match="methods"):
            service.on_request("/x", methods=methods)(fine)
    service.on_request("/x")(fine)
    with pytest.raises(ValueError, match="already"):
        service.on_request("x")(fine)
