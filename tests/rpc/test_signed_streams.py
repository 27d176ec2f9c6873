"""Bodies in chunks where only what is signed counts, both ways, on the real server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from authsvc import subjects
from authsvc.claims import format_creds
from authsvc.errors import DeadlineExceeded
from authsvc.nkey import KeyPair, Prefix
from authsvc.rpc import AsyncClient, Client, Request, Service
from authsvc.rpc._loops.threads import in_thread
from authsvc.rpc._wire.chain import Sealing
from authsvc.rpc._wire.chunks import (
    ChunkFrame,
    CreditFrame,
    HeadFrame,
    OpenFrame,
    encode_chunk,
    encode_credit,
    encode_head,
    encode_open,
)
from authsvc.rpc._wire.frames import RequestFrame
from authsvc.rpc._wire.signing import sealed
from tests.fixtures.waiting import until
from tests.rpc.conftest import People
from tests.rpc.test_signed import Sender, signing
from tests.rpc.test_streams import BIG, bob_instance, pieces_of


def strict(**options: Any) -> tuple[Service, list[bytes]]:
    service, bodies = Service("strict", sign=True, require_signed=True, **options), []

    @service.on_request("/echo")
    async def echo(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for piece in body:
            yield piece

    @service.on_request("/keep")
    async def keep(request: Request) -> dict[str, int]:
        bodies.append(request.content)
        return {"size": len(request.content)}

    @service.on_request("/big")
    async def big() -> bytes:
        return BIG

    return service, bodies


async def test_bodies_pass_signed_both_ways(people: People) -> None:
    bob = await signing(people, "bob")
    service, bodies = strict()
    await people.serve(service, bob)
    alice = await signing(people, "alice")
    peer = alice.peer(bob.username, "strict")
    async with peer.stream("/echo", content=pieces_of(BIG)) as response:
        assert await response.read() == BIG
    async with peer.stream("/keep", content=BIG, headers={"x": "y"}) as response:
        assert (response.status, await response.read()) == (200, b'{"size":10240000}')
    assert bodies == [BIG]
    async with peer.stream("/big") as response:
        assert await response.read() == BIG
    async with httpx.AsyncClient(transport=peer.transport(), base_url="http://bob") as http:
        found = await http.post("/echo", content=pieces_of(BIG))
        assert found.content == BIG
        assert not any(name.startswith("authsvc-") for name in found.headers)
        assert (await http.post("/none", content=b"small")).status_code == 404
    assert (alice.stats.unsigned, service.stats.unsigned) == (0, 0)
    assert (alice.stats.malformed, service.stats.malformed) == (0, 0)


async def test_code_that_blocks_signs_too(people: People) -> None:
    bob = await signing(people, "bob")
    service, _ = strict()
    await people.serve(service, bob)
    creds = people.kit.user_creds(people.name("carol"))
    login: dict[str, Any] = {"creds": format_creds(creds.jwt, creds.key)}

    def block() -> bytes:
        options: dict[str, Any] = {"sign": True, "require_signed": True}
        with (
            Client(**login, servers=[people.kit.url], **options) as client,
            client.peer(bob.username, "strict").stream("/echo", content=[BIG]) as response,
        ):
            return response.read()

    assert await in_thread(block) == BIG


async def test_renewals_break_no_chain(people: People) -> None:
    bob = await signing(people, "bob")
    service, _ = strict()
    await people.serve(service, bob)
    alice = await signing(people, "alice")

    async def slowly() -> AsyncIterator[bytes]:
        for start in range(0, len(BIG), 500_000):
            yield BIG[start : start + 500_000]
            for client in (alice, bob):
                client.session._only_connect = True
                client.session._kick.set()
            await asyncio.sleep(0.05)

    async with alice.peer(bob.username, "strict").stream("/echo", content=slowly()) as response:
        assert await response.read() == BIG
    assert min(alice.stats.renewals, bob.stats.renewals) >= 2
    assert (alice.stats.unsigned, service.stats.unsigned) == (0, 0)


async def test_what_is_not_signed_is_refused(people: People) -> None:
    bob = await signing(people, "bob")
    service, bodies = strict()
    await people.serve(service, bob)
    carol = await people.client("carol")
    async with carol.peer(bob.username, "strict").stream("/keep", content=BIG) as response:
        assert response.status == 403
        assert b"not signed" in await response.read()
    assert (bodies, service.stats.unsigned) == ([], 1)
    lax = Service("lax")

    @lax.on_request("/")
    async def answer() -> AsyncIterator[bytes]:
        yield b"unsigned"

    await people.serve(lax, await people.client("dave"))
    alice = await signing(people, "alice")
    with pytest.raises(DeadlineExceeded):
        async with alice.peer(people.name("dave"), "lax").stream("/", timeout=0.5):
            pass
    assert alice.stats.unsigned == 1


ID = "0123456789abcdef" * 2


def chunk(
    sealing: Sealing, key: KeyPair, request_id: str, at: int, content: bytes, *, last: bool
) -> ChunkFrame:
    """The chunk that comes next, signed."""
    signature = sealing.signature(key, at, content, last=last)
    return ChunkFrame(request_id, at, last, content, signature)


async def test_forged_chunks_of_a_request_are_dropped(people: People) -> None:
    """Whoever injects may publish anything, but holds no key of alice's."""
    bob = await signing(people, "bob")
    service, bodies = strict()
    await people.serve(service, bob)
    creds = people.kit.user_creds(people.name("alice"))
    alice, forger = Sender(creds), KeyPair.generate(Prefix.USER)
    raw = await people.kit.connect(creds)
    a, b = subjects.token(people.name("alice")), subjects.token(bob.username)
    subject, answers = f"requests.{a}.{b}.strict", f"responses.{a}.{b}.strict.{ID}"
    heard: list[bytes] = []

    async def hear(message: Any) -> None:
        heard.append(message.data)

    await raw.subscribe(answers, cb=hear)
    now = int(time.time() * 1000)
    request = RequestFrame(ID, now, now + 30_000, "POST", "/keep", (), b"ab")
    opening = sealed(encode_open(OpenFrame(request, 1 << 16, more=True)), subject, alice)
    await raw.publish(subject, opening)
    await until(lambda: bool(heard))
    parts = f"{subject}.{bob_instance(service)}.{ID}"
    honest, other = Sealing(parts, ID, opening), Sealing(parts, ID, opening)
    first = ChunkFrame(
        ID,
        2,
        last=False,
        content=b"cd",
        signature=honest.signature(alice.key, 2, b"cd", last=False),
    )
    last = ChunkFrame(
        ID, 4, last=True, content=b"ef", signature=honest.signature(alice.key, 4, b"ef", last=True)
    )
    forged = ChunkFrame(
        ID, 2, last=True, content=b"XX", signature=other.signature(forger, 2, b"XX", last=True)
    )
    for one in (
        forged,
        forged._replace(signature=b""),
        last._replace(offset=2),  # cut short
        last,  # too early, and kept
        first._replace(content=b"cX"),
        first,
    ):
        await raw.publish(parts, encode_chunk(one))
    await until(lambda: bool(bodies))
    assert bodies == [b"abcdef"]
    assert service.stats.unsigned == 4


async def test_forged_chunks_of_a_response_are_dropped(people: People) -> None:
    creds = people.kit.user_creds(people.name("bob"))
    bob, forger = Sender(creds), KeyPair.generate(Prefix.USER)
    raw = await people.kit.connect(creds)
    alice = await signing(people, "alice")
    a, b = subjects.token(alice.username), subjects.token(people.name("bob"))
    instance = "1" * 32

    async def answer(message: Any) -> None:
        key = message.data.split(b" ")[2].decode()
        answers = f"responses.{a}.{b}.raw.{key}"
        head = sealed(
            encode_head(HeadFrame(key, instance, 200, (("x-a", "b"),), b"ab")), answers, bob
        )
        honest, other = Sealing(answers, key, head), Sealing(answers, key, head)
        first = ChunkFrame(
            key,
            2,
            last=False,
            content=b"cd",
            signature=honest.signature(bob.key, 2, b"cd", last=False),
        )
        last = ChunkFrame(
            key, 4, last=True, content=b"", signature=honest.signature(bob.key, 4, b"", last=True)
        )
        forged = ChunkFrame(
            key, 2, last=True, content=b"XX", signature=other.signature(forger, 2, b"XX", last=True)
        )
        bad_head = HeadFrame(key, instance, 200, (), b"XX")
        for data in (
            encode_chunk(first),  # before the head, and kept
            encode_head(bad_head),
            sealed(encode_head(bad_head), answers, Sender(people.kit.user_creds("eve@x.com"))),
            head,
            encode_credit(CreditFrame(key, instance, 10)),
            encode_chunk(forged._replace(offset=4)),
            encode_chunk(last),
        ):
            await raw.publish(answers, data)

    await raw.subscribe(f"requests.*.{b}.raw", cb=answer)
    await raw.flush()
    async with alice.peer(people.name("bob"), "raw").stream("/", timeout=5) as response:
        assert response.headers["x-a"] == "b"
        assert await response.read() == b"abcd"
    assert alice.stats.unsigned >= 2


async def test_a_client_that_signs_is_understood_by_who_does_not_ask(people: People) -> None:
    service = Service("plain")

    @service.on_request("/echo")
    async def echo(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for piece in body:
            yield piece

    bob = await people.client("bob")
    await people.serve(service, bob)
    creds = people.kit.user_creds(people.name("alice"))
    alice = await people.made(AsyncClient, creds, sign=True)
    async with alice.peer(bob.username, "plain").stream("/echo", content=pieces_of(BIG)) as found:
        assert await found.read() == BIG
