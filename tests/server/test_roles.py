"""Scoped roles on a real nats-server: what a role may do changes under living connections."""

from __future__ import annotations

import asyncio
import time

import nats.errors
import pytest
from nats.aio.client import Client

from authsvc import subjects
from authsvc.claims import decode_account, decode_user
from authsvc.nkey import KeyPair, Prefix
from authsvc.rpc import AsyncClient, RpcError, Service
from authsvc.server import audit, policy, roles
from authsvc.server.models import Account
from authsvc.server.sessions.sizes import Caps
from tests.fixtures.authsvc import LiveService, StartService, access_token
from tests.fixtures.waiting import until
from tests.server.api.admin.live import connected
from tests.server.roles import (
    grant,
    login,
    me,
    member,
    raw_member,
    scope,
    take,
    unscope_all,
    user,
)

ALICE, BOB, CAROL = "alice@example.com", "bob@example.com", "carol@example.com"
_sqlite = pytest.mark.parametrize("shared_database_url", ["sqlite"], indirect=True)


@pytest.fixture
async def service(emptied_service: LiveService) -> LiveService:
    """The module's, without the roles of the tests before."""
    await unscope_all(emptied_service)
    return emptied_service


async def test_a_change_reaches_whoever_is_connected(service: LiveService) -> None:
    """No new JWT: what is given and what is taken holds at once, and nobody else is disturbed."""
    await user(service, ALICE, "sensors")
    await user(service, CAROL, "others")
    made = await scope(service, "sensors")
    await scope(service, "others")
    jwts = {name: (await login(service, name))[0] for name in (ALICE, BOB, CAROL)}
    jwt, claims = await login(service, ALICE, key=service.keys[ALICE])
    assert claims.issuer == made["public_key"]
    assert claims.permissions.empty
    assert (claims.subs, claims.payload, claims.data) == (0, 0, 0)
    assert claims.name == subjects.token(ALICE)
    assert len(claims.tags) == 1
    keys = service.keys
    async with (
        member(service, jwt, keys[ALICE]) as alice,
        member(service, jwts[BOB], keys[BOB]) as bob,
        member(service, jwts[CAROL], keys[CAROL]) as carol,
    ):
        assert await alice.may(f"requests.{subjects.token(ALICE)}.bob.chat")
        assert not await alice.may(f"requests.{subjects.token(BOB)}.bob.chat")
        assert not await alice.may("weather.berlin")
        given = await grant(service, role="sensors", publish=["weather.>"], subscribe=["news.*"])
        assert given["propagation"]["state"] == "applied"
        await alice.returned()
        assert await alice.may("weather.berlin")
        assert "weather.>" in (await me(service, ALICE, jwt))["publish"]
        gone = await take(service, given)
        assert (gone["cut"], gone["propagation"]["state"]) == (0, "applied")
        async with asyncio.timeout(1):
            await alice.returned()
            assert not await alice.may("weather.berlin")
        assert await me(service, ALICE, jwt) == {
            "publish": list(policy.permissions(claims.name).publish.allow),
            "subscribe": list(policy.permissions(claims.name).subscribe.allow),
        }
        # Another change of the account's JWT cuts nobody.
        path = "/v1/admin/credentials"
        listed = (await service.admin("GET", path, "users:read")).json()["items"]
        mine = next(it["id"] for it in listed if it["username"] == BOB)
        assert (await service.admin("POST", f"{path}/{mine}/revoke")).status_code == 200
        await alice.client.flush()
        await carol.client.flush()
        assert (alice.reconnects, bob.reconnects, carol.reconnects) == (2, 0, 0)
        assert (await service.renew(jwt, keys[ALICE])).status_code == 201


async def test_the_templates_limits_hold(service: LiveService) -> None:
    await user(service, ALICE, "sensors")
    made = await scope(service, "sensors")
    async with service.running.database.reading() as session:
        account = await session.get_one(Account, service.running.material.people_id)
    template = decode_account(account.jwt).signing_keys[made["public_key"]]
    assert template is not None
    assert template.subs == service.settings.user_max_subscriptions
    assert template.payload == service.settings.max_payload
    assert template.role == "sensors"
    # Other settings at the next start are brought to the template.
    async with service.running.database.writing() as session:
        await roles.set_caps(session, Caps(3, 1000))
    account_id = service.running.material.people_id
    assert (await service.running.reconciler.propagate(account_id)).state == "applied"
    jwt, _ = await login(service, ALICE)
    async with raw_member(service, jwt, service.keys[ALICE]) as alice:
        for number in range(4):
            alice.subscribe(f"_INBOX.{subjects.token(ALICE)}.{number}")
        assert [text for text in await alice.refused() if "subscriptions" in text.lower()]
        alice.publish(f"requests.{subjects.token(ALICE)}.bob.chat", b"x" * 1000)
        assert await alice.refused() == []
        alice.publish(f"requests.{subjects.token(ALICE)}.bob.chat", b"x" * 1001)
        await until(lambda: bool(alice.errors))
        assert "payload" in alice.errors[0].lower()


HOSTILE = ["*@x.com", "{{name()}}@x.com", ">@x.com", "a.*.b@x.com", "{{tag(x)}}.>@x.com"]


@_sqlite
async def test_no_name_becomes_a_wildcard(service: LiveService) -> None:
    victim = subjects.token(BOB)
    for name in HOSTILE:
        await user(service, name, "sensors")
    made = await scope(service, "sensors")
    for name in HOSTILE:
        jwt, claims = await login(service, name)
        assert claims.issuer == made["public_key"]
        own = subjects.token(name)
        async with raw_member(service, jwt, service.keys[name]) as one:
            one.publish(f"requests.{own}.{victim}.chat")
            one.publish(f"responses.{victim}.{own}.chat.1")
            one.subscribe(f"responses.{own}.>")
            assert await one.refused() == [], name
            refused = (
                f"requests.{victim}.{own}.chat",
                f"responses.{own}.{victim}.chat.1",
                f"$JS.ACK.requests_{victim}.x",
                f"$JS.mail.API.STREAM.MSG.GET.responses_{victim}",
                f"$JS.mail.API.CONSUMER.MSG.NEXT.requests_{victim}.chat",
            )
            for subject in refused:
                one.publish(subject)
            heard = (f"responses.{victim}.>", f"_INBOX.{victim}.>", "requests.*.*.chat", ">")
            for subject in heard:
                one.subscribe(subject)
            assert len(await one.refused()) == len(refused) + len(heard), name


async def test_into_the_right_kind_and_back(service: LiveService) -> None:
    """JWTs end when a role becomes scoped and when it is so no more; each renews into its kind."""
    await user(service, ALICE, "sensors")
    first, claims = await login(service, ALICE)
    account_key, key = claims.issuer, service.keys[ALICE]
    await grant(service, role="sensors", publish=["weather.>"])
    made = await scope(service, "sensors")
    assert (await service.call("GET", "/v1/me", "DPoP", first, key)).status_code == 401
    renewed = await service.renew(first, key)
    assert renewed.status_code == 201, renewed.text
    jwt = renewed.json()["jwt"]
    async with member(service, jwt, key) as alice:
        assert await alice.may("weather.berlin")
    gone = await service.admin("DELETE", "/v1/admin/roles/sensors", "users:write")
    assert gone.status_code == 200, gone.text
    assert (gone.json()["cut"], gone.json()["scoped"]) == (1, False)
    assert (await service.call("GET", "/v1/me", "DPoP", jwt, key)).status_code == 401
    with pytest.raises(nats.errors.Error, match=r"(?i)auth"):
        async with connected(service, jwt, key):
            pass
    back = await service.renew(jwt, key)
    assert back.status_code == 201, back.text
    _, claims = await login(service, ALICE, key=key)
    assert claims.issuer == account_key
    assert "weather.>" in claims.permissions.publish.allow
    again = await scope(service, "sensors")
    assert again["public_key"] != made["public_key"]


@_sqlite
async def test_what_a_template_cant_say_is_issued_the_normal_way(service: LiveService) -> None:
    made = await scope(service, "sensors")
    await scope(service, "others")
    await user(service, ALICE, "sensors")
    await user(service, "own-grant@x.com", "sensors")
    await grant(service, username="own-grant@x.com", publish=["mine.>"])
    await user(service, "limits@x.com", "sensors", max_subscriptions=5)
    await user(service, "two@x.com", "sensors", "others")
    await user(service, "beside@x.com", "sensors", "plain")
    await grant(service, role="plain", publish=["plain.>"])
    shared = await grant(service, role="sensors", publish=["weather.>"])
    assert (await login(service, ALICE))[1].issuer == made["public_key"]
    narrowed = KeyPair.generate(Prefix.USER)
    assert not (await login(service, ALICE, key=narrowed, app="chat"))[1].permissions.empty
    jwts = {}
    for name in ("own-grant@x.com", "limits@x.com", "two@x.com", "beside@x.com"):
        jwts[name], claims = await login(service, name)
        assert "weather.>" in claims.permissions.publish.allow, name
    # Their JWTs say it themselves, so they end; the members by template keep theirs.
    assert (await take(service, shared))["cut"] == 4
    for name, jwt in jwts.items():
        answer = await service.call("GET", "/v1/me", "DPoP", jwt, service.keys[name])
        assert answer.status_code == 401, name


@_sqlite
async def test_whoever_leaves_keeps_nothing(service: LiveService) -> None:
    """Even of a role without grants: it may get some later."""
    await user(service, ALICE, "sensors")
    await scope(service, "sensors")
    jwt, _ = await login(service, ALICE)
    body: dict[str, list[str]] = {"roles": []}
    answer = await service.admin("PATCH", f"/v1/admin/users/{ALICE}", "users:write", json=body)
    assert answer.json()["propagation"]["state"] == "applied"
    answer = await service.call("GET", "/v1/me", "DPoP", jwt, service.keys[ALICE])
    assert answer.status_code == 401
    await grant(service, role="sensors", publish=["weather.>"])
    renewed = (await service.renew(jwt, service.keys[ALICE])).json()["jwt"]
    assert "weather.>" not in (await me(service, ALICE, renewed))["publish"]


async def test_whoever_waits_for_a_change_gets_what_is_right_after_it(service: LiveService) -> None:
    await user(service, ALICE, "sensors")
    own = (await login(service, ALICE))[1].issuer
    await scope(service, "sensors")
    key = service.keys[ALICE]
    jwt, claims = await login(service, ALICE, key=key)
    assert claims.issuer != own
    context = audit.Context(audit.Actor("service", "test"), "", "")
    async with service.running.database.writing() as session:
        await roles.unscope(session, "sensors", context=context, now=time.time())
        renewal = asyncio.create_task(service.renew(jwt, key))
        # PostgreSQL: the desk reads what it can, then waits for the user's row.
        await asyncio.sleep(0.3)
        assert not renewal.done()
    made = (await renewal).json()["jwt"]
    assert decode_user(made).issuer == own
    assert (await service.call("GET", "/v1/me", "DPoP", made, key)).status_code == 200


async def test_no_jwt_of_the_wrong_kind_survives_a_race(service: LiveService) -> None:
    """Whatever is issued while a role becomes scoped, or is so no more, is right or superseded."""
    await user(service, ALICE, "sensors")
    jwt, claims = await login(service, ALICE)
    own, key = claims.issuer, service.keys[ALICE]
    for turn in range(3):
        scoping = turn % 2 == 0
        renewals = [asyncio.create_task(service.renew(jwt, key)) for _ in range(12)]
        if scoping:
            issuer = (await scope(service, "sensors"))["public_key"]
        else:
            await service.admin("DELETE", "/v1/admin/roles/sensors", "users:write")
            issuer = own
        for answer in await asyncio.gather(*renewals):
            assert answer.status_code == 201, answer.text
            made = answer.json()["jwt"]
            believed = await service.call("GET", "/v1/me", "DPoP", made, key)
            wrong = decode_user(made).issuer != issuer
            assert believed.status_code == 401 if wrong else believed.status_code in {200, 401}
        answer = await service.renew(jwt, key)
        assert answer.status_code == 201
        jwt = answer.json()["jwt"]
        assert decode_user(jwt).issuer == issuer
        assert (await service.call("GET", "/v1/me", "DPoP", jwt, key)).status_code == 200


@_sqlite
async def test_the_library_goes_on_through_changes(service: LiveService) -> None:
    await user(service, ALICE, "sensors")
    await user(service, BOB, "sensors")
    await scope(service, "sensors")
    echo = Service("echo")

    @echo.on_request("/echo")
    async def answer(body: bytes) -> bytes:
        return body

    async with (
        AsyncClient(service.url, token=access_token(ALICE)) as alice,
        AsyncClient(service.url, token=access_token(BOB)) as bob,
    ):
        serving = asyncio.create_task(echo.serve(bob))
        await echo.ready()
        peer, jwts = alice.peer(BOB, "echo"), (alice.session.login.jwt, bob.session.login.jwt)
        assert (await peer.call("/echo", content=b"x" * 100_000, timeout=5)).status == 200

        async def answered() -> bool:
            try:
                return (await peer.call("/echo", content=b"y", timeout=1)).content == b"y"
            except RpcError:
                return False  # while both come back

        for _ in range(2):
            made = await grant(service, role="sensors", publish=["weather.>"])
            await until(answered)
            await take(service, made)
            await until(answered)
        assert (alice.session.login.jwt, bob.session.login.jwt) == jwts
        await echo.stop()
        await serving


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_taken_from_whoever_came_by_callout_as_well(start_service: StartService) -> None:
    """nats-server gives them the permissions of their own JWT, so that JWT ends."""
    service = await start_service(callout=True)
    await user(service, ALICE, "sensors")
    await scope(service, "sensors")
    jwt, _ = await login(service, ALICE)
    made = await grant(service, role="sensors", publish=["weather.>"])
    client, closed = Client(), asyncio.Event()

    async def on_closed() -> None:
        closed.set()

    async def on_error(error: Exception) -> None:
        """It ends; that is what is waited for."""

    await client.connect(
        service.nats_url,
        user="syftbox",
        password=access_token(ALICE),
        allow_reconnect=False,
        closed_cb=on_closed,
        error_cb=on_error,
        inbox_prefix=f"_INBOX.{subjects.token(ALICE)}".encode(),
    )
    told = (await client.request("$SYS.REQ.USER.INFO", b"", timeout=5)).data
    assert b"weather." in told
    assert (await take(service, made))["cut"] == 2
    async with asyncio.timeout(5):
        await closed.wait()
    answer = await service.renew(jwt, service.keys[ALICE])
    assert answer.status_code == 201
