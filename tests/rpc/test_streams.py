"""Bodies in chunks, from end to end: generators, uploads, cancellation, renewal, forgeries."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from authsvc import subjects
from authsvc.claims import format_creds
from authsvc.rpc import (
    AsyncClient,
    Client,
    DeadlineExceeded,
    Disconnected,
    NoResponder,
    PayloadTooLarge,
    Peer,
    RemoteError,
    Request,
    Response,
    Service,
)
from authsvc.rpc._streams.liveness import Liveness
from authsvc.rpc._wire.chunks import (
    CancelFrame,
    ChunkFrame,
    CreditFrame,
    HeadFrame,
    OpenFrame,
    encode_cancel,
    encode_chunk,
    encode_credit,
    encode_head,
    encode_open,
)
from authsvc.rpc._wire.flow import Pulse, window_bytes
from authsvc.rpc._wire.frames import RequestFrame
from tests.fixtures.waiting import until
from tests.rpc.conftest import Eventually, People
from tests.rpc.test_call import ANYTHING

BIG = bytes(range(256)) * 40_000  # 10 MB, above what one message may have


async def pieces_of(data: bytes, size: int = 300_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def echo(name: str = "streams") -> Service:
    service = Service(name)

    @service.on_request("/echo")
    async def answer(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for piece in body:
            yield piece

    @service.on_request("/digest")
    async def digest(body: bytes) -> dict[str, Any]:
        return {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}

    @service.on_request("/big", methods="GET")
    async def big() -> bytes:
        return BIG

    return service


async def pair(people: People, service: Service) -> tuple[AsyncClient, AsyncClient, Peer]:
    bob = await people.client("bob")
    await people.serve(service, bob)
    alice = await people.client("alice")
    return alice, bob, alice.peer(bob.username, service.name)


async def test_bodies_above_the_payload_limit_go_both_ways(people: People) -> None:
    alice, _, peer = await pair(people, echo())
    async with peer.stream("/echo", content=pieces_of(BIG)) as response:
        assert response.status == 200
        assert await response.read() == BIG
    async with peer.stream("/digest", content=BIG) as response:
        assert b'"size":10240000' in await response.read()
    async with peer.stream("/big", method="GET") as response:
        assert response.status_code == 200
        assert hashlib.sha256(await response.read()).digest() == hashlib.sha256(BIG).digest()
    calls = alice.live()[1]
    assert not calls.streams
    assert not len(calls.pulse)
    # A plain call keeps its own limit.
    assert (await peer.call("/big", method="GET")).status == 507


async def test_what_a_generator_yields_leaves_at_once(people: People) -> None:
    service = Service("yields")
    step = asyncio.Event()

    @service.on_request("/steps")
    async def steps() -> AsyncIterator[Any]:
        yield Response(b"zero,", status=201, headers={"content-type": "text/csv"})
        yield "one,"
        await step.wait()
        yield b"two"

    @service.on_request("/lines")
    def lines(request: Request) -> Iterator[Any]:  # a plain generator runs in a thread
        for n in range(int(request.text)):
            yield {"n": n, "pad": "x" * 500}

    @service.on_request("/nothing")
    async def nothing() -> AsyncIterator[bytes]:
        for piece in list[bytes]():
            yield piece

    _, _, peer = await pair(people, service)
    async with peer.stream("/steps") as response:
        assert (response.status, response.headers["content-type"]) == (201, "text/csv")
        found = b""
        while found != b"zero,one,":
            found += await response.read_some()
        step.set()
        assert await response.read() == b"two"
    async with peer.stream("/lines", content="2000") as response:
        assert response.headers["content-type"] == "application/x-ndjson"
        assert [item["n"] async for item in response.items()] == list(range(2000))
    async with peer.stream("/nothing") as response:
        assert await response.read() == b""
    # Who does not stream gets it all at once.
    whole = await peer.call("/lines", content="3")
    assert [line[:6] for line in whole.content.splitlines()] == [b'{"n":0', b'{"n":1', b'{"n":2']
    assert (await peer.call("/steps")).text == "zero,one,two"


async def test_a_handler_that_fails_half_way_breaks_its_response_off(people: People) -> None:
    service = Service("half")

    @service.on_request("/half")
    async def half() -> AsyncIterator[bytes]:
        yield b"a" * 1000
        raise RuntimeError("a secret")

    @service.on_request("/none")
    async def none(request: Request) -> AsyncIterator[bytes]:
        if request.method == "POST":
            raise RuntimeError("a secret")
        yield b""

    _, _, peer = await pair(people, service)
    async with peer.stream("/half") as response:
        assert await response.read_some() == b"a" * 1000
        with pytest.raises(RemoteError) as caught:
            await response.read_some()
    assert caught.value.status == 500
    assert "secret" not in str(caught.value)
    async with peer.stream("/none") as response:
        assert response.status == 500
        assert b"secret" not in await response.read()
    assert service.stats.errors == 2


async def test_a_requester_that_gives_up_ends_the_handler(
    people: People, eventually: Eventually
) -> None:
    service = Service("endless")
    ended: list[str] = []
    begun = asyncio.Event()

    @service.on_request("/endless")
    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 50_000
        finally:
            ended.append("endless")

    @service.on_request("/never")
    async def never() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("never")

    @service.on_request("/upload")
    async def upload(body: AsyncIterator[bytes]) -> int:
        try:
            return len([piece async for piece in body])
        finally:
            ended.append("upload")

    alice, _, peer = await pair(people, service)
    async with peer.stream("/endless") as response:
        assert await response.read_some()
    await eventually(lambda: ended == ["endless"])

    # Before anything came back: no instance is known yet.
    async def wait() -> None:
        async with peer.stream("/never"):
            pass

    waiting = asyncio.create_task(wait())
    await begun.wait()
    waiting.cancel()
    await eventually(lambda: ended[1:] == ["never"])

    async def half() -> AsyncIterator[bytes]:
        yield b"x" * 10
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="gone"):
        async with peer.stream("/upload", content=half()):
            pass
    await eventually(lambda: ended[2:] == ["upload"])
    assert not alice.live()[1].streams
    # The workers live on.
    assert (await peer.call("/nowhere")).status == 404


async def test_neither_side_holds_more_than_a_window(
    people: People, eventually: Eventually
) -> None:
    service = Service("window")
    yielded = 0

    @service.on_request("/down")
    async def down() -> AsyncIterator[bytes]:
        nonlocal yielded
        for _ in range(200):
            yielded += 50_000
            yield b"x" * 50_000

    @service.on_request("/up")
    async def up(body: AsyncIterator[bytes]) -> None:
        async for _ in body:
            await go_on.wait()

    go_on = asyncio.Event()
    _, _, peer = await pair(people, service)
    async with peer.stream("/down") as response:
        await eventually(lambda: yielded > window_bytes(1))
        await asyncio.sleep(0.2)
        assert yielded <= window_bytes(1) + 100_000
        assert len(await response.read()) == 10_000_000
    made = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal made
        for _ in range(200):
            made += 50_000
            yield b"x" * 50_000

    async def send() -> None:
        async with peer.stream("/up", content=pieces()) as response:
            assert response.status == 200

    sending = asyncio.create_task(send())
    await eventually(lambda: made > 500_000)
    await asyncio.sleep(0.2)
    assert made <= 2 * window_bytes(1) + 100_000
    go_on.set()
    await sending
    assert made == 10_000_000


async def test_every_chunk_reaches_the_responder_that_took_the_request(people: People) -> None:
    alice = await people.client("alice")
    took: set[int] = set()

    def one(number: int) -> Service:
        service = Service("group")

        @service.on_request("/sum")
        async def total(body: AsyncIterator[bytes]) -> dict[str, int]:
            took.add(number)
            return {"sum": sum([len(piece) async for piece in body])}

        return service

    for number in range(3):
        await people.serve(one(number), await people.client("bob"))
    peer = alice.peer(people.name("bob"), "group")

    async def send() -> bytes:
        async with peer.stream("/sum", content=pieces_of(BIG[:1_000_000], 50_000)) as response:
            return await response.read()

    answers = await asyncio.gather(*[send() for _ in range(12)])
    assert set(answers) == {b'{"sum":1000000}'}
    assert len(took) > 1


async def test_renewals_on_both_sides_lose_no_chunk(people: People) -> None:
    bob, _ = await people.sourced("bob", renew_in=0.2)
    await people.serve(echo(), bob)
    alice, _ = await people.sourced("alice", renew_in=0.15)
    peer = alice.peer(bob.username, "streams")
    rounds = 0
    while alice.stats.renewals < 6 or bob.stats.renewals < 6:
        async with peer.stream("/echo", content=pieces_of(BIG[:3_000_000], 100_000)) as response:
            assert await response.read() == BIG[:3_000_000]
        rounds += 1
    assert rounds
    assert alice.stats.malformed == bob.stats.malformed == 0


async def test_limits_and_deadlines(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    service = echo()
    service.max_body = 1_000_000
    stop = asyncio.Event()

    @service.on_request("/slow")
    async def slow() -> AsyncIterator[bytes]:
        yield b"x"
        await stop.wait()

    _, bob, peer = await pair(people, service)
    async with peer.stream("/digest", content=pieces_of(BIG)) as response:
        assert response.status == 413
    async with peer.stream("/slow", timeout=0.3) as response:
        assert await response.read_some() == b"x"
        with pytest.raises(DeadlineExceeded):
            await response.read_some()
    async with peer.stream("/big", method="GET") as response:
        with pytest.raises(PayloadTooLarge):
            await response.read(limit=5_000_000)
    with pytest.raises(NoResponder):
        async with bob.peer(bob.username, "nobody").stream("/", content=pieces_of(BIG)):
            pass
    with pytest.raises(ValueError, match="above 0"):
        async with peer.stream("/", timeout=0):
            pass
    with pytest.raises(ValueError, match="not both"):
        peer.stream("/", json=1, content=pieces_of(b""))


async def test_whoever_is_silent_is_given_up(
    people: People, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pulse, "SECONDS", 0.05)
    monkeypatch.setattr(Liveness, "SPEAK_SECONDS", 0.1)
    monkeypatch.setattr(Liveness, "SILENCE_SECONDS", 1.5)
    service = Service("silent")
    ended: list[str] = []

    @service.on_request("/slow")
    async def slow() -> AsyncIterator[bytes]:
        try:
            yield b"x"
            await asyncio.sleep(2.5)
            yield b"y"
            await asyncio.Event().wait()
        finally:
            ended.append("slow")

    alice, bob, peer = await pair(people, service)
    async with peer.stream("/slow") as response:
        # Both say that they are there, so a long pause is nothing.
        assert await response.read_some() == b"x"
        assert await response.read_some() == b"y"
        assert not ended
        # Now the requester is gone without a word.
        for connection in (alice.session.connection,):
            assert connection is not None
            monkeypatch.setattr(connection, "send", lambda *_: None)
        await eventually(lambda: ended == ["slow"])
        with pytest.raises((RemoteError, Disconnected)):
            await response.read_some()
    assert bob.stats.malformed == 0


async def test_forged_parts_are_dropped_and_counted(people: People, eventually: Eventually) -> None:
    service = Service("forged")
    held: list[Request] = []
    go_on = asyncio.Event()

    @service.on_request("/held")
    async def handler(request: Request, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        held.append(request)
        yield b"begun,"
        async for piece in body:
            yield piece
        await go_on.wait()

    alice, bob, peer = await pair(people, service)
    a, b = subjects.token(alice.username), subjects.token(bob.username)
    evil = await people.kit.connect(people.kit.user_creds("evil@x.com", allowed=ANYTHING))
    mallory = await people.kit.connect("mallory@x.com")
    done = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first,"
        await done.wait()
        yield b"last"

    async with peer.stream("/held", content=pieces()) as response:
        found = await response.read_some()
        while found != b"begun,first,":
            found += await response.read_some()
        key = held[0].id
        answers = f"responses.{a}.{b}.forged.{key}"
        instance = bob_instance(service)
        chunks = f"requests.{a}.{b}.forged.{instance}.{key}"
        bodies = [b"", b"+WPI", b'{"stream":"s","seq":1}', b"AUTHSVC/1 chunk x"]
        other = encode_chunk(ChunkFrame("0" * 32, 6, last=True, content=b"forged"))
        for body in (*bodies, other):
            await evil.publish(answers, body)
            await evil.publish(chunks, body)
        # The server's own answer, by a user who may not publish there.
        await mallory.publish("$SYS.REQ.USER.INFO", b"", reply=answers)
        await mallory.publish("$SYS.REQ.USER.INFO", b"", reply=chunks)
        await eventually(lambda: alice.stats.malformed == len(bodies) + 2)
        await eventually(lambda: service.stats.malformed == len(bodies) + 2)
        # On other subjects even what is well formed means nothing.
        cancel = encode_cancel(CancelFrame(key, 500))
        await evil.publish(f"requests.mallory.{b}.forged.{instance}.{key}", cancel)
        await evil.publish(f"requests.{a}.{b}.forged.{'0' * 32}.{key}", cancel)
        await evil.publish(f"responses.{a}.mallory.forged.{key}", cancel)
        await evil.flush()
        done.set()
        go_on.set()
        assert await response.read() == b"last"


async def test_what_is_given_up_before_it_comes_never_begins(people: People) -> None:
    service = Service("early")
    begun: list[str] = []

    @service.on_request("/held")
    async def handler(request: Request, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        begun.append(request.id)
        async for piece in body:
            yield piece

    alice, bob, peer = await pair(people, service)
    subject = f"requests.{subjects.token(alice.username)}.{subjects.token(bob.username)}.early"
    now = int(time.time() * 1000)

    def opening(key: str) -> bytes:
        request = RequestFrame(key, now, now + 60_000, "POST", "/held", (), b"")
        return encode_open(OpenFrame(request, 1000, more=True))

    raw = await people.kit.connect(alice.username)
    gone, other = "a" * 32, "b" * 32
    await raw.publish(f"{subject}.all.{gone}", encode_cancel(CancelFrame(gone, 499)))
    await raw.publish(f"{subject}.all.{other}", encode_cancel(CancelFrame(gone, 499)))
    await raw.publish(subject, opening(gone))
    await raw.publish(subject, opening(other))
    await raw.flush()
    await until(lambda: bool(begun))
    assert (await peer.call("/held", content=b"after")).content == b"after"
    assert begun[0] == other
    assert gone not in begun
    assert service.stats.malformed == 1
    await raw.publish(f"{subject}.all.{other}", encode_cancel(CancelFrame(other, 499)))
    await raw.flush()
    await service.stop()


def bob_instance(service: Service) -> str:
    serving = service._serving
    assert serving is not None
    return serving._exchanges.instance


async def test_a_responder_that_breaks_the_rules_is_left(
    people: People, eventually: Eventually
) -> None:
    alice = await people.client("alice")
    b = subjects.token(people.name("bob"))
    raw = await people.kit.connect(people.name("bob"))
    got = await raw.subscribe(f"requests.*.{b}.>")
    await raw.flush()
    peer = alice.peer(people.name("bob"), "rules")
    instance = "1" * 32

    async def opened() -> tuple[Any, str, str]:
        stream = peer.stream("/", timeout=5)
        entering = asyncio.create_task(stream.__aenter__())
        data = b""
        try:
            while b" open " not in data:
                message = await got.next_msg(timeout=20)
                data = message.data
        except TimeoutError:
            seen = entering, alice.stats, raw.is_connected, raw.last_error, raw.stats
            raise AssertionError(seen) from None
        key = message.data.split(b" ")[2].decode()
        answers = message.subject.replace("requests", "responses", 1) + "." + key
        return (stream, entering), answers, key

    # More than was allowed.
    (stream, entering), answers, key = await opened()
    await raw.publish(answers, encode_head(HeadFrame(key, instance, 200, (), b"")))
    response = await entering
    for n in range(12):
        chunk = ChunkFrame(key, n * 200_000, last=False, content=b"x" * 200_000)
        await raw.publish(answers, encode_chunk(chunk))
    await raw.flush()
    await asyncio.sleep(0.1)
    with pytest.raises(Disconnected, match="rules"):
        await response.read()
    while b" cancel " not in (await got.next_msg(timeout=5)).data:
        pass
    await stream.__aexit__(None, None, None)

    # Two responders for one request.
    (stream, entering), answers, key = await opened()
    await raw.publish(answers, encode_head(HeadFrame(key, instance, 200, (), b"")))
    response = await entering
    await raw.publish(answers, encode_credit(CreditFrame(key, "2" * 32, 5)))
    with pytest.raises(Disconnected, match="two responders"):
        await response.read()
    await stream.__aexit__(None, None, None)

    # Chunks before the head, twice and out of order, are put right.
    (stream, entering), answers, key = await opened()
    for frame in (
        ChunkFrame(key, 3, last=True, content=b"def"),
        ChunkFrame(key, 0, last=False, content=b"abc"),
        ChunkFrame(key, 0, last=False, content=b"abc"),
    ):
        await raw.publish(answers, encode_chunk(frame))
    for _ in range(2):
        await raw.publish(answers, encode_head(HeadFrame(key, instance, 200, (), b"")))
    assert await (await entering).read() == b"abcdef"
    await stream.__aexit__(None, None, None)


async def test_a_broken_connection_breaks_streams_off(own: People, eventually: Eventually) -> None:
    alice, bob = await own.client("alice"), await own.client("bob")
    service = Service("broken")

    @service.on_request("/endless")
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000
            await asyncio.sleep(0.01)

    await own.serve(service, bob)
    async with alice.peer(bob.username, "broken").stream("/endless") as response:
        assert await response.read_some()
        await asyncio.to_thread(own.kit.server.restart, kill=True)
        with pytest.raises(Disconnected):
            await response.read()
    await eventually(lambda: alice.session.connection is not None)
    assert not alice.live()[1].streams


async def test_credentials_that_are_narrowed_to_an_app_stream_too(people: People) -> None:
    bob = await people.client("bob", app="streams")
    await people.serve(echo(), bob)
    alice = await people.client("alice", app="streams")
    async with alice.peer(bob.username, "streams").stream("/echo", content=BIG) as response:
        assert await response.read() == BIG


async def test_a_client_that_blocks_may_be_closed_while_it_reads(
    people: People, eventually: Eventually
) -> None:
    service = Service("closing")

    @service.on_request("/")
    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 1000
        finally:
            ended.append("endless")

    ended: list[str] = []
    bob = await people.client("bob")
    await people.serve(service, bob)
    creds = people.kit.user_creds(people.name("alice"))

    def work() -> None:
        client = Client(creds=format_creds(creds.jwt, creds.key), servers=[people.kit.url])
        with client, client.peer(bob.username, "closing").stream("/") as response:
            assert response.read_some()
            client.close()
            with pytest.raises(Disconnected):
                response.read()

    await asyncio.to_thread(work)
    await eventually(lambda: ended == ["endless"])
