"""Three nats-servers, PostgreSQL and two replicas: processes of their own."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest
from nats.errors import Error as NatsError

from authsvc.claims import Creds
from tests.fixtures.cluster import Node, ReplicatedService
from tests.fixtures.waiting import until


async def refused(cluster: ReplicatedService, creds: Creds, node: Node) -> bool:
    """Whether the node lets the user in no more; a server that is not there refuses nobody."""
    try:
        client = await cluster.connect(creds, node)
    except NatsError as error:
        return "authorization" in str(error).lower() or "revoked" in str(error).lower()
    except OSError:
        return False
    await client.close()
    return False


async def passes(cluster: ReplicatedService, creds: Creds, node: Node) -> bool:
    """Whether the node lets the user in; if so, see that the connection is closed at once."""
    try:
        client = await cluster.connect(creds, node)
    except (NatsError, OSError):
        return False
    await until(lambda: client.is_closed, 5)
    return True


async def test_two_replicas_revoking_at_once_lose_nothing(cluster: ReplicatedService) -> None:
    """The short form of ``benchmarks.replicas``."""
    first, second = cluster.replicas
    users = [await cluster.login(f"many{number}@example.com") for number in range(100)]
    async with cluster.observed() as observer:
        found = await asyncio.gather(
            *(
                cluster.revoke(credential, creds, second if place % 2 else first)
                for place, (credential, creds) in enumerate(users)
            )
        )
        await cluster.whole()
    # A machine that has no time to spare may let one pass the bound of an answer.
    assert {item["state"] for item in found} <= {"applied", "pending"}
    assert all(len(item["servers"]) == 3 for item in found)
    seen = observer.check({creds.key.public.text for _, creds in users})
    assert seen.pop("looks") > 3
    assert seen.pop("jwts") >= 2
    assert seen == {
        "one_jwt_per_iat": True,
        "iat_never_falls": True,
        "steps_that_lost_a_revocation": 0,
        "missing_at_the_end": 0,
        "servers_agree_at_the_end": True,
    }
    for node in cluster.nodes:
        assert await refused(cluster, users[0][1], node)
        assert await refused(cluster, users[-1][1], node)


async def test_connections_of_every_node_are_listed(cluster: ReplicatedService) -> None:
    for place, node in enumerate(cluster.nodes):
        await cluster.connect((await cluster.login(f"here{place}@example.com"))[1], node)
    for replica in cluster.replicas:
        answer = await cluster.admin("GET", "/v1/admin/connections", replica=replica)
        found = answer.json()
        assert found["silent"] == []
        where = {it["username"]: it["server"]["name"] for it in found["items"]}
        names = [where[f"here{place}@example.com"] for place in range(len(cluster.nodes))]
        assert len(set(names)) == len(cluster.nodes)
    await cluster.disconnect()


async def test_a_user_has_so_many_connections_over_all_nodes(cluster: ReplicatedService) -> None:
    """Twenty unless set otherwise; what is above goes, wherever it is."""
    _, creds = await cluster.login("many@example.com")
    _, others = await cluster.login("few@example.com")
    few = [await cluster.connect(others, node) for node in cluster.nodes]
    mine = [await cluster.connect(creds, cluster.nodes[place % 3]) for place in range(20)]
    extra = [await cluster.connect(creds, node) for node in cluster.nodes]
    await until(lambda: all(client.is_closed for client in extra), 3)
    # A node crashes and tells of no ends: whoever comes back elsewhere is not too much.
    node = cluster.nodes[2]
    node.stop(kill=True)
    try:
        stayed = [client for place, client in enumerate(mine) if place % 3 != 2]
        back = [await cluster.connect(creds, cluster.nodes[0]) for _ in range(6)]
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            assert all(client.is_connected for client in [*stayed, *back, *few[:2]])
            await asyncio.sleep(0.05)
        last = await cluster.connect(creds, cluster.nodes[1])
        await until(lambda: last.is_closed, 3)
        assert all(client.is_connected for client in [*stayed, *back, *few[:2]])
    finally:
        await asyncio.to_thread(node.start)
    await cluster.disconnect()
    await cluster.whole()


async def test_a_revocation_ends_the_connection_whichever_node_it_is_on(
    cluster: ReplicatedService,
) -> None:
    """The short form of ``benchmarks.revocation``."""
    bystander = await cluster.connect((await cluster.login("stays@example.com"))[1])
    for place, node in enumerate(cluster.nodes):
        ended = asyncio.Event()

        async def closed(ended: asyncio.Event = ended) -> None:
            ended.set()

        credential, creds = await cluster.login(f"goes{place}@example.com")
        await cluster.connect(creds, node, closed_cb=closed)
        began = time.perf_counter()
        answer = asyncio.create_task(cluster.revoke(credential, creds))
        async with asyncio.timeout(5):
            await ended.wait()
        assert time.perf_counter() - began < 1
        assert (await answer)["state"] == "applied"
    assert bystander.is_connected


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_a_node_that_is_down_is_named_and_catches_up(
    cluster: ReplicatedService, place: int
) -> None:
    node = cluster.nodes[place]
    old, new = (
        await cluster.login(f"old{place}@example.com"),
        await cluster.login(f"new{place}@example.com"),
    )
    assert (await cluster.revoke(*old))["state"] == "applied"
    node.stop(kill=True)
    try:
        began = time.perf_counter()
        found = await cluster.revoke(*new, cluster.replicas[1])
        assert time.perf_counter() - began < 5
        assert found["state"] == "pending"
        held = {server["name"]: server["applied"] for server in found["servers"]}
        assert held == {other.name: other is not node for other in cluster.nodes}
        for other in cluster.nodes:
            if other is not node:
                assert await refused(cluster, new[1], other)
        # Others are named no longer than it takes: the next answer does not wait for the dead.
        took = []
        for number in range(3):
            more = await cluster.login(f"more{place}{number}@example.com")
            began = time.perf_counter()
            assert (await cluster.revoke(*more))["state"] == "pending"
            took.append(time.perf_counter() - began)
        assert min(took) < 1.5
    finally:
        await asyncio.to_thread(node.start)
    ready = time.monotonic()
    # What it had on disk holds, if not always for the first who come: they are closed again. What
    # it missed arrives.
    logins = [creds for creds in (old[1], new[1]) for _ in range(4)]
    await asyncio.gather(*(passes(cluster, creds, node) for creds in logins))
    for creds in (old[1], new[1]):
        while not await refused(cluster, creds, node):
            assert time.monotonic() - ready < 10
    await cluster.whole()


async def test_a_node_that_hangs_is_named_and_told_when_it_goes_on(
    cluster: ReplicatedService,
) -> None:
    node = cluster.nodes[1]
    login = await cluster.login("hangs@example.com")
    node.signal(signal.SIGSTOP)
    try:
        # A replica may sit on the very node: then it has to find out first.
        found = await cluster.revoke(*login, cluster.replicas[0])
        assert found["state"] == "pending"
        assert {server["name"]: server["applied"] for server in found["servers"]}["n2"] is False
    finally:
        node.signal(signal.SIGCONT)
    await cluster.whole()
    assert await refused(cluster, login[1], node)


async def test_what_changes_while_no_server_is_there_holds_when_they_are_back(
    cluster: ReplicatedService,
) -> None:
    users = [await cluster.login(f"away{number}@example.com") for number in range(50)]
    for node in cluster.nodes:
        node.stop(kill=True)
    try:
        await cluster.revoke(*users[0])
        await asyncio.sleep(1)
        began = time.monotonic()
        for place, user in enumerate(users[1:]):
            found = await cluster.revoke(*user, cluster.replicas[place % 2])
            assert found["state"] == "pending"
            assert not any(server["applied"] for server in found["servers"])
        # Nobody waited for servers that are not there.
        assert time.monotonic() - began < 40
    finally:
        for node in cluster.nodes:
            node.start(ready=False)
        for node in cluster.nodes:
            await asyncio.to_thread(node.wait_ready)
    ready = time.monotonic()
    await cluster.whole()
    assert time.monotonic() - ready < 5
    refusals = [
        await refused(cluster, creds, cluster.nodes[place % 3])
        for place, (_, creds) in enumerate(users)
    ]
    assert all(refusals)
