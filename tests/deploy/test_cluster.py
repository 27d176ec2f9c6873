"""The profile "cluster": three nats-servers that prove themselves to one another, two replicas."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

import pytest

from tests.deploy.conftest import API_NAME, NATS_NAME, URL, Deployed, fresh_database
from tests.deploy.people import api, connected, login
from tests.fixtures.postgres import Postgres
from tests.fixtures.waiting import until

NODES, REPLICAS = ("nats1", "nats2", "nats3"), ("cluster-authsvc1", "cluster-authsvc2")


@pytest.fixture
async def cluster(
    tmp_path_factory: pytest.TempPathFactory, postgres: Postgres
) -> AsyncIterator[Deployed]:
    """What the profile starts, ready."""
    async with fresh_database(postgres) as url:
        compose = Deployed(tmp_path_factory.mktemp("cluster"), url)
        try:
            await compose.up(*REPLICAS)
            await compose.ready(*REPLICAS)
            yield compose
        finally:
            compose.down()


async def _first_words(address: str, trust: ssl.SSLContext | None) -> bytes:
    """What a nats-server tells who opens a route."""
    name = API_NAME if trust else None
    reader, writer = await asyncio.open_connection(address, 6222, ssl=trust, server_hostname=name)
    try:
        writer.write(b'CONNECT {"verbose":false,"pedantic":false,"name":"x"}\r\nPING\r\n')
        async with asyncio.timeout(10):
            return await reader.readline()
    except OSError:
        return b""
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_who_logs_in_at_one_replica_is_known_on_every_node(cluster: Deployed) -> None:
    trust = cluster.authority.trust()
    people = []
    for replica, name in zip(REPLICAS, ("alice@example.com", "bob@example.com"), strict=True):
        async with api(cluster[replica].address, API_NAME, trust) as http:
            people.append(await login(http, URL, name))
    alice, bob = people
    sender = await connected(
        alice, f"tls://{cluster['nats1'].address}:4222", tls=trust, tls_hostname=NATS_NAME
    )
    hearer = await connected(
        bob, f"tls://{cluster['nats3'].address}:4222", tls=trust, tls_hostname=NATS_NAME
    )
    try:
        # It is told of no other servers: their addresses are none that it could use.
        assert sender._server_info.get("connect_urls") is None
        heard = asyncio.Event()

        async def note(_: object) -> None:
            heard.set()

        a, b = alice.credential["subject_token"], bob.credential["subject_token"]
        await hearer.subscribe(f"requests.*.{b}.chat", cb=note)

        async def reaches() -> bool:
            await sender.publish(f"requests.{a}.{b}.chat", b"hello")
            await sender.flush()
            return heard.is_set()

        await until(reaches)
    finally:
        await sender.close()
        await hearer.close()
    # Nobody joins the cluster without a certificate of its authority.
    route = cluster["nats2"].address
    assert not (await _first_words(route, None)).startswith(b"INFO")
    assert not (await _first_words(route, trust)).startswith(b"INFO")
    trust.load_cert_chain(cluster.pair.cert, cluster.pair.key)
    assert (await _first_words(route, trust)).startswith(b"INFO")
    # One node less: the others go on, and both replicas with them.
    cluster["nats1"].stop()
    await cluster.ready(*REPLICAS)
