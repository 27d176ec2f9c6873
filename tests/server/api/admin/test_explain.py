"""What explain says is what nats-server does."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import update

from authsvc.claims import Creds
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.models import User
from tests.fixtures.authsvc import LiveService
from tests.security.raw import RawClient

EXPLAIN = "/v1/admin/explain"
ALICE = "alice@example.com"
A = "alice@example%2Ecom"
ID = "0" * 32

TABLE = {
    "publish": [
        f"requests.{A}.bob.chat",
        f"requests.{A}.bob.chat.stored",
        f"requests.{A}.bob.other",
        f"requests.{A}",
        f"requests.bob.{A}.chat",
        "requests.alice.bob.chat",
        f"responses.bob.{A}.chat.{ID}",
        f"responses.{A}.bob.chat.{ID}",
        f"$JS.mail.API.CONSUMER.MSG.NEXT.requests_{A}.chat",
        "$JS.mail.API.CONSUMER.MSG.NEXT.requests_bob.chat",
        f"$JS.ACK.requests_{A}.chat.1.2.3.4.5",
        f"$JS.mail.API.STREAM.MSG.GET.responses_{A}",
        "$JS.API.STREAM.LIST",
        "$SYS.REQ.USER.INFO",
        "$SYS.REQ.SERVER.PING",
        "weather.berlin",
        "weather",
        "news.a",
        "news.a.b",
        "staff.x.report",
        "staff.x.y",
        "w*.literal",
        "wx.literal",
    ],
    "subscribe": [
        f"responses.{A}.>",
        f"responses.{A}.bob.chat.*",
        f"responses.{A}.*.chat.>",
        "responses.>",
        f"requests.*.{A}.>",
        f"requests.*.{A}.chat",
        f"requests.*.{A}.other",
        f"requests.bob.{A}.chat",
        f"requests.{A}.bob.chat",
        "requests.*.bob.chat",
        f"_INBOX.{A}.1",
        f"_INBOX.{A}.>",
        f"_INBOX.{A}",
        "_INBOX.>",
        ">",
        "*",
        "weather.*",
        "weather.>",
        "weather.*.x",
        "news.a",
        "news.*",
        "news.>",
        "news.*.>",
        "staff.*.report",
        "staff.x.report",
        "staff.>",
        "staff.*.>",
    ],
}


@pytest.fixture
def service(emptied_service: LiveService) -> LiveService:
    """One for the module, emptied for each test."""
    return emptied_service


async def explain(service: LiveService, **body: Any) -> httpx.Response:
    return await service.admin("POST", EXPLAIN, "users:read", json={"username": ALICE, **body})


async def refuses(client: RawClient, action: str, subject: str) -> bool:
    if action == "publish":
        client.publish(subject)
        return bool(await client.refused())
    sid = client.subscribe(subject)
    refused = bool(await client.refused())
    client.unsubscribe(sid)
    return refused


@pytest.mark.parametrize("shared_database_url", ["sqlite"], indirect=True)
async def test_it_agrees_with_nats_server(service: LiveService) -> None:
    await service.login(ALICE)
    async with service.running.database.writing() as session:
        await session.execute(update(User).values(roles=["staff"]))
    for body in (
        {"username": ALICE, "publish": ["weather.>", "w*.literal"], "subscribe": ["weather.*"]},
        {"username": ALICE, "publish": ["news.*"], "subscribe": ["news.*"]},
        {"role": "staff", "publish": ["staff.*.report"], "subscribe": ["staff.*.report"]},
        {"role": "others", "publish": [">"], "subscribe": [">"], "dangerous": True},
    ):
        answer = await service.admin("POST", "/v1/admin/grants", "admin", json=body)
        assert answer.status_code == 201, answer.text
    root = await service.api_key("users:read")
    for app in (None, "chat"):
        key = KeyPair.generate(Prefix.USER)
        jwt = (await service.login(ALICE, key, **({"app": app} if app else {}))).json()["jwt"]
        host, port = urlsplit(service.nats_url).hostname, urlsplit(service.nats_url).port
        client = await RawClient.connect(str(host), port or 0, Creds(jwt, key))
        try:
            for action, subjects in TABLE.items():
                both = set()
                for subject in subjects:
                    asked = {"username": ALICE, "action": action, "subject": subject, "app": app}
                    answer = await service.admin("POST", EXPLAIN, key=root, json=asked)
                    assert answer.status_code == 200, answer.text
                    allowed = answer.json()["allowed"]
                    assert allowed != await refuses(client, action, subject), (action, subject)
                    both.add(allowed)
                assert both == {True, False}
        finally:
            await client.close()


async def test_where_a_rule_is_from(service: LiveService) -> None:
    await service.login(ALICE)
    async with service.running.database.writing() as session:
        await session.execute(update(User).values(roles=["staff"]))
    made = [
        (await service.admin("POST", "/v1/admin/grants", "admin", json=body)).json()["id"]
        for body in (
            {"username": ALICE, "publish": ["weather.>"]},
            {"role": "staff", "publish": ["staff.>"]},
        )
    ]
    default = (await explain(service, action="publish", subject=f"requests.{A}.b.c")).json()
    assert default == {
        "username": ALICE,
        "action": "publish",
        "subject": f"requests.{A}.b.c",
        "app": None,
        "allowed": True,
        "disabled": False,
        "rule": f"requests.{A}.>",
        "source": {"kind": "default", "id": None, "role": None},
        "needed": None,
    }
    own = (await explain(service, action="publish", subject="weather.x")).json()
    assert (own["rule"], own["source"]) == (
        "weather.>",
        {"kind": "grant", "id": made[0], "role": None},
    )
    role = (await explain(service, action="publish", subject="staff.x")).json()
    assert role["source"] == {"kind": "grant", "id": made[1], "role": "staff"}
    free = (await explain(service, action="subscribe", subject="weather.x")).json()
    assert (free["allowed"], free["rule"], free["source"]) == (False, None, None)
    assert free["needed"] == {
        "grant": {"username": ALICE, "subscribe": ["weather.x"]},
        "reaches": [],
    }
    danger = (await explain(service, action="publish", subject="requests.bob.c.d")).json()
    assert danger["needed"]["reaches"] == ["the requests of others"]
    # What it says is needed is what has to be sent.
    for needed in (free["needed"], danger["needed"]):
        answer = await service.admin("POST", "/v1/admin/grants", "admin", json=needed["grant"])
        assert answer.status_code == 201, answer.text
    assert (await explain(service, action="publish", subject="requests.bob.c.d")).json()["allowed"]
    async with service.running.database.writing() as session:
        await session.execute(update(User).values(disabled_at=int(time.time())))
    body = (await explain(service, action="publish", subject=f"requests.{A}.b.c")).json()
    assert (body["allowed"], body["disabled"], body["rule"]) == (False, True, f"requests.{A}.>")


async def test_what_can_not_be_explained(service: LiveService) -> None:
    await service.login(ALICE)
    for body, status, slug in (
        ({"username": "nobody", "action": "publish", "subject": "a"}, 404, "not-found"),
        ({"username": "a\u0000", "action": "publish", "subject": "a"}, 404, "not-found"),
        ({"action": "publish", "subject": "a.*"}, 422, "invalid-subject"),
        ({"action": "publish", "subject": ""}, 422, "invalid-subject"),
        ({"action": "subscribe", "subject": "a.>.b"}, 422, "invalid-subject"),
        ({"action": "listen", "subject": "a"}, 422, "invalid-input"),
        ({"action": "publish"}, 422, "invalid-input"),
        ({"action": "publish", "subject": "a", "app": ""}, 422, "invalid-name"),
    ):
        answer = await explain(service, **body)
        assert answer.status_code == status, (body, answer.text)
        assert answer.json()["type"] == f"urn:authsvc:problem:{slug}", body
    body = {"username": ALICE, "action": "publish", "subject": "a"}
    assert (await service.admin("POST", EXPLAIN, "users:write", json=body)).status_code == 403
    assert (await service.http.post(EXPLAIN, json=body)).status_code == 401
