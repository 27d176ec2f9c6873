"""Signed messages on the real server: whoever injects what, only the sender's own counts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from authsvc import subjects
from authsvc.claims import Creds, Permission, Permissions, UserClaims, encode
from authsvc.errors import InvalidKey
from authsvc.nkey import KeyPair, Prefix
from authsvc.rpc import AsyncClient, DeadlineExceeded, Login, Request, Service
from authsvc.rpc._session.credentials import ServiceSource
from authsvc.rpc._wire.frames import RequestFrame, ResponseFrame, encode_request, encode_response
from authsvc.rpc._wire.signing import sealed
from authsvc.server.policy import permissions
from tests.fixtures.authsvc import LiveService, access_token
from tests.fixtures.nats import NewNats
from tests.fixtures.realm import Realm
from tests.rpc.conftest import Eventually, People

EVERYTHING = Permissions(publish=Permission(allow=(">",)), subscribe=Permission(allow=(">",)))
ID = "0123456789abcdef0123456789abcdef"


class Sender:
    """Who signs, with which JWT."""

    def __init__(self, creds: Creds, *, jwt: str | None = None) -> None:
        self.jwt, self.key = jwt or creds.jwt, creds.key


def strict(name: str = "strict", **options: Any) -> tuple[Service, list[str]]:
    service, handled = Service(name, sign=True, require_signed=True, **options), []

    @service.on_request("/")
    async def handler(request: Request) -> str:
        handled.append(request.requester)
        return request.text

    return service, handled


async def signing(people: People, who: str, **options: Any) -> AsyncClient:
    creds = people.kit.user_creds(people.name(who))
    return await people.made(AsyncClient, creds, sign=True, require_signed=True, **options)


async def test_signed_calls_pass_and_unsigned_ones_are_refused(people: People) -> None:
    bob = await signing(people, "bob")
    service, handled = strict()
    await people.serve(service, bob)
    alice = await signing(people, "alice")
    peer = alice.peer(bob.username, "strict")
    for content in (b"", b"x" * 100_000, "grüße"):
        response = await peer.call("/", content=content, headers={"a": "b"})
        assert response.status == 200
    assert (await peer.call("/none")).status == 404
    assert (alice.stats.unsigned, service.stats.unsigned) == (0, 0)
    carol = await people.client("carol")
    answer = await carol.peer(bob.username, "strict").call("/", content=b"x")
    assert answer.status == 403
    assert "not signed" in answer.json()["detail"]
    assert handled == [alice.username] * 3
    assert service.stats.unsigned == 1


async def test_answers_that_are_not_signed_do_not_count(people: People) -> None:
    bob = await people.client("bob")
    service = Service("lax")

    @service.on_request("/")
    async def lax() -> str:
        return "unsigned"

    await people.serve(service, bob)
    alice = await signing(people, "alice")
    with pytest.raises(DeadlineExceeded, match="one was dropped: the message is not signed"):
        await alice.peer(bob.username, "lax").call("/", timeout=0.5)
    assert (alice.stats.unsigned, alice.stats.timeouts) == (1, 1)


Forge = Callable[[People, Creds], tuple[bytes, str]]


def frame(*, sent: int | None = None) -> bytes:
    now = int(time.time() * 1000) if sent is None else sent
    return encode_request(RequestFrame(ID, now, now + 30_000, "POST", "/", (), b"forged"))


def _subject(people: People, who: str = "alice", app: str = "strict") -> str:
    return subjects.Request(people.name(who), people.name("bob"), app).text


def unsigned(people: People, _alice: Creds) -> tuple[bytes, str]:
    return frame(), "not signed"


def by_another_key(people: People, alice: Creds) -> tuple[bytes, str]:
    forger = Sender(Creds(alice.jwt, KeyPair.generate(Prefix.USER)))
    return sealed(frame(), _subject(people), forger), "does not hold"


def as_oneself(people: People, _alice: Creds) -> tuple[bytes, str]:
    mallory = people.kit.user_creds(people.name("mallory"))
    return sealed(frame(), _subject(people), Sender(mallory)), "another user's"


def from_another_subject(people: People, alice: Creds) -> tuple[bytes, str]:
    return sealed(frame(), _subject(people, app="other"), Sender(alice)), "does not hold"


def that_was_changed(people: People, alice: Creds) -> tuple[bytes, str]:
    data = sealed(frame(), _subject(people), Sender(alice))
    return data.replace(b"forged", b"fOrged"), "does not hold"


def by_an_ended_credential(people: People, alice: Creds) -> tuple[bytes, str]:
    now = int(time.time())
    ended = people.kit.user_creds(
        people.name("alice"), key=alice.key, issued_at=now - 100, ttl=90
    )  # fmt: skip
    return sealed(frame(), _subject(people), Sender(ended)), "expired"


def of_another_account(people: People, _alice: Creds) -> tuple[bytes, str]:
    other = people.kit.user_creds(people.name("alice"), account=people.kit.realm.control)
    return sealed(frame(), _subject(people), Sender(other)), "another account"


def self_made(people: People, _alice: Creds) -> tuple[bytes, str]:
    key = KeyPair.generate(Prefix.USER)
    claims = UserClaims(
        subject=key.public.text,
        name=subjects.token(people.name("alice")),
        issuer_account=people.kit.realm.people.public,
        permissions=Permissions(),
        issued_at=int(time.time()),
    )
    made = Creds(encode(claims, KeyPair.generate(Prefix.ACCOUNT)), key)
    return sealed(frame(), _subject(people), Sender(made)), "not known"


def narrowed_to_another_app(people: People, alice: Creds) -> tuple[bytes, str]:
    creds = people.kit.user_creds(people.name("alice"), app="other", key=alice.key)
    return sealed(frame(), _subject(people), Sender(creds)), "does not allow"


def without_a_jwt(people: People, alice: Creds) -> tuple[bytes, str]:
    return sealed(frame(), _subject(people), Sender(alice, jwt="a.b.c")), "JWT does not hold"


FORGERIES: list[Forge] = [
    unsigned, by_another_key, as_oneself, from_another_subject, that_was_changed,
    by_an_ended_credential, of_another_account, self_made, narrowed_to_another_app, without_a_jwt,
]  # fmt: skip


async def test_what_whoever_runs_the_server_injects_is_refused(
    people: People, eventually: Eventually
) -> None:
    bob = await signing(people, "bob")
    service, handled = strict()
    await people.serve(service, bob)
    alice = people.kit.user_creds(people.name("alice"))
    raw = await people.kit.connect(people.kit.user_creds("operator", allowed=EVERYTHING))
    heard = await raw.subscribe(f"responses.{subjects.token(people.name('alice'))}.>")
    for count, forge in enumerate(FORGERIES, 1):
        data, reason = forge(people, alice)
        await raw.publish(_subject(people), data)
        message = await heard.next_msg(10)
        assert message.data.split()[3] == b"403", forge.__name__
        assert reason.encode() in message.data, forge.__name__
        assert service.stats.unsigned == count
    await raw.publish(_subject(people), sealed(frame(sent=1), _subject(people), Sender(alice)))
    assert (await heard.next_msg(10)).data.split()[3] == b"419"  # signed, and long over
    assert handled == []
    await raw.publish(_subject(people), sealed(frame(), _subject(people), Sender(alice)))
    await eventually(lambda: handled == [people.name("alice")])


async def test_injected_answers_do_not_count_and_the_true_one_does(
    people: People, eventually: Eventually
) -> None:
    bob = await signing(people, "bob")
    service, begun, release = Service("slow", sign=True), [], asyncio.Event()

    @service.on_request("/")
    async def slow(request: Request) -> str:
        begun.append(request.id)
        await release.wait()
        return "true"

    await people.serve(service, bob)
    alice = await signing(people, "alice")
    task = asyncio.create_task(alice.peer(bob.username, "slow").call("/", timeout=20))
    await eventually(lambda: begun)
    raw = await people.kit.connect(people.kit.user_creds("operator", allowed=EVERYTHING))
    request = subjects.Request(alice.username, bob.username, "slow")
    subject = request.response(begun[0]).text
    forged = encode_response(ResponseFrame(begun[0], 200, (), b"forged"))
    mallory = people.kit.user_creds(people.name("mallory"))
    bobs_key = Sender(mallory, jwt=bob.session.login.jwt)
    for data in (
        forged,
        sealed(forged, subject, Sender(mallory)),
        sealed(forged, subject, bobs_key),
    ):
        await raw.publish(subject, data)
    await raw.publish(subject, b'{"stream":"x","seq":1}')
    await raw.flush()
    await eventually(lambda: alice.stats.unsigned == 3 and alice.stats.malformed == 1)
    release.set()
    assert (await task).text == "true"


class Known:
    """A credential source that knows an account's signing keys, as authsvc does."""

    def __init__(self, creds: Creds, url: str, keys: list[str]) -> None:
        self.creds, self.url, self.keys = creds, url, keys
        self.asked: list[str] = []

    async def obtain(self, current: Login | None) -> Login:  # noqa: ARG002
        return Login.from_jwt(self.creds.jwt, self.creds.key, [self.url])

    async def issuers(self, account: str) -> frozenset[str]:
        self.asked.append(account)
        return frozenset(self.keys)

    async def close(self) -> None:
        pass


def by_second_key(realm: Realm, second: KeyPair, name: str) -> Creds:
    key, now = KeyPair.generate(Prefix.USER), int(time.time())
    claims = UserClaims(
        subject=key.public.text,
        name=name,
        issuer_account=realm.people.public,
        permissions=permissions(name, None),
        issued_at=now,
        expires=now + 600,
    )
    return Creds(encode(claims, second), key)


async def test_keys_of_the_same_account_are_asked_for_or_given(new_nats: NewNats) -> None:
    realm, second = Realm(), KeyPair.generate(Prefix.ACCOUNT)
    realm.people.claims.signing_keys[second.public.text] = None
    people = People(new_nats(realm=realm))
    try:
        kit = people.kit
        source = Known(kit.user_creds("bob"), kit.url, [])
        bob = AsyncClient(source=source, sign=True)
        await bob.connect()
        people.clients.append(bob)
        service, handled = strict()
        await people.serve(service, bob)
        creds = by_second_key(realm, second, "alice")
        alice = await people.made(AsyncClient, creds, sign=True, require_signed=True)
        peer = alice.peer("bob", "strict")
        with pytest.raises(DeadlineExceeded, match="issuer of the user JWT is not known"):
            await peer.call("/", timeout=0.5)
        assert (source.asked, handled) == ([realm.people.public], [])
        source.keys = [second.public.text]
        given = await people.made(
            AsyncClient, creds, sign=True, require_signed=True,
            trusted_issuers=[realm.people.signing.public.text],
        )  # fmt: skip
        trusting = given.peer("bob", "strict")
        # Not asked for again at once, however many strangers come.
        assert (await trusting.call("/")).status == 403
        assert len(source.asked) == 1
        bob.trust._looked -= 60
        assert (await trusting.call("/")).status == 200
        assert (len(source.asked), handled) == (2, ["alice"])
    finally:
        await people.close()


async def test_authsvc_tells_the_keys_of_the_account(service: LiveService) -> None:
    alice = AsyncClient(
        service.url, token=access_token("alice@example.com"), sign=True, require_signed=True
    )
    bob = AsyncClient(service.url, token=access_token("bob@example.com"), sign=True)
    async with alice, bob:
        app, handled = strict()
        serving = asyncio.create_task(app.serve(bob))
        await app.ready()
        assert (await alice.peer("bob@example.com", "strict").call("/")).status == 200
        assert handled == ["alice@example.com"]
        source = alice.session._source
        assert isinstance(source, ServiceSource)
        mine = alice.trust._sender(alice.session.login.jwt)
        assert {mine.issuer, mine.account} <= await source.issuers(mine.account)
        await app.stop()
        await serving


def test_a_trusted_issuer_is_an_account_key() -> None:
    with pytest.raises(InvalidKey):
        AsyncClient(trusted_issuers=[KeyPair.generate(Prefix.USER).public.text])
