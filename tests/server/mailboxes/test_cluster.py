"""Three nats-servers that keep each stream three times, and two replicas of the service."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from authsvc import dpop, subjects
from authsvc.claims import Creds
from authsvc.server.policy import JS_PREFIX
from tests.fixtures.cluster import Replica, ReplicatedService
from tests.fixtures.postgres import Postgres
from tests.fixtures.waiting import until

ALICE, BOB = "alice@example.com", "bob@example.com"
A, B = subjects.token(ALICE), subjects.token(BOB)
REQUEST = f"requests.{B}.{A}.chat.stored"


@pytest.fixture(scope="module")
async def cluster(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ReplicatedService]:
    name = f"mail_{secrets.token_hex(4)}"
    await postgres.sql(f"CREATE DATABASE {name}")
    service = ReplicatedService(tmp_path_factory.mktemp("mail"), postgres.url(name))
    for replica in service.replicas:
        replica._environ["AUTHSVC_MAILBOX_REPLICAS"] = "3"
    try:
        await service.start()
        yield service
    finally:
        await service.stop()


async def put(replica: Replica, path: str, creds: Creds, body: dict[str, Any]) -> str:
    proof = dpop.make(
        creds.key,
        "PUT",
        replica.url + path,
        token=creds.jwt,
        now=time.time(),
        jti=secrets.token_hex(16),
    )
    headers = {"Authorization": f"DPoP {creds.jwt}", "DPoP": proof}
    answer = await replica.http.put(path, headers=headers, json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["propagation"]["state"])


async def ask(client: Client, subject: str, body: bytes, **more: Any) -> Msg | None:
    """An answer; None while a cluster elects who leads."""
    try:
        return await client.request(subject, body, timeout=2, old_style=True, **more)
    except (NatsError, TimeoutError):
        return None


async def test_what_waits_outlives_a_server(cluster: ReplicatedService) -> None:
    first, second = cluster.replicas
    (_, alice), (_, bob) = [await cluster.login(name) for name in (ALICE, BOB)]

    async def made() -> bool:
        # By both replicas at once: what one makes, the other takes for what it is.
        states = await asyncio.gather(
            put(first, "/v1/me/apps/chat", alice, {"offline": True}),
            put(second, "/v1/me/apps/other", alice, {"offline": True}),
            put(first, "/v1/me/mailbox", alice, {"responses": True}),
            put(second, "/v1/me/mailbox", bob, {"responses": True}),
        )
        return set(states) == {"applied"}

    await until(made, 60)
    sender, taker = [
        await cluster.connect(creds, node, inbox_prefix=f"_INBOX.{token}".encode())
        for creds, node, token in ((bob, cluster.nodes[1], B), (alice, cluster.nodes[2], A))
    ]
    sent = []
    for number in range(5):
        answer = await ask(sender, REQUEST, b"%d" % number)
        assert answer is not None
        assert orjson.loads(answer.data)["stream"] == f"requests_{A}"
        sent.append(b"%d" % number)
    cluster.nodes[0].stop(kill=True)
    taken: list[bytes] = []

    async def all_taken() -> bool:
        pull = orjson.dumps({"batch": 1, "expires": 1_000_000_000})
        found = await ask(taker, f"{JS_PREFIX}.CONSUMER.MSG.NEXT.requests_{A}.chat", pull)
        ack = found.reply if found is not None else ""
        if ack.startswith("$JS.ACK.") and await ask(taker, ack, b"+ACK") is not None:
            taken.append(found.data)  # type: ignore[union-attr]
        return set(taken) == set(sent)

    try:
        await until(all_taken, 60)

        # With two of three there is a majority: mailboxes are made as before.
        async def more() -> bool:
            return await put(second, "/v1/me/apps/third", alice, {"offline": True}) == "applied"

        await until(more, 60)
    finally:
        cluster.nodes[0].start()
    await cluster.whole()
