"""Streams where nats-server is killed, has lost its disk, has no room or is away."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from authsvc.errors import Unavailable
from authsvc.server.policy import stream_names
from authsvc.server.provision.mail_streams import ADVISORIES, DEAD_LETTERS
from tests.fixtures.authsvc import LiveService, StartService
from tests.fixtures.waiting import until
from tests.server.mailboxes.post import Person, config, names, person, streams_of


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind: what is asked here is nats-server."""
    return sqlite_url


async def test_what_waits_survives_a_kill(service: LiveService, alice: Person, bob: Person) -> None:
    await alice.done("PUT", "/v1/me/apps/chat", json={"offline": True})
    sent = [(await bob.submit(alice))["seq"] for _ in range(5)]
    assert (await alice.pull()).headers is not None
    pid = service.supervisor.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await until(lambda: service.supervisor.pid not in {None, pid}, 20)
    await until(lambda: alice.client.is_connected and bob.client.is_connected, 20)

    async def settled() -> bool:
        answer = await alice.call("PUT", "/v1/me/apps/second", json={"offline": True})
        return bool(answer.json()["propagation"]["state"] == "applied")

    await until(settled, 30)
    assert await names(service) == {f"requests_{alice.token}"}
    state = (await streams_of(service).ask(f"STREAM.INFO.requests_{alice.token}"))["state"]
    assert state["messages"] == len(sent)


async def test_streams_come_back_after_a_lost_disk(service: LiveService, alice: Person) -> None:
    await alice.done("PUT", "/v1/me/apps/chat", json={"offline": True})
    await alice.done("PUT", "/v1/me/mailbox", json={"responses": True})
    before = await names(service)
    assert len(before) == 2
    pid = service.supervisor.pid
    assert pid is not None
    folder = next(Path(service.settings.data_dir).glob("**/jetstream"))
    os.kill(pid, signal.SIGSTOP)
    shutil.rmtree(folder)
    os.kill(pid, signal.SIGKILL)

    async def back() -> bool:
        if service.supervisor.pid in {None, pid} or not alice.client.is_connected:
            return False
        try:
            return await names(service) == before
        except Unavailable:
            return False

    await until(back, 30)
    requests, _ = stream_names(alice.token)

    async def whole() -> bool:
        return await config(service, f"CONSUMER.INFO.{requests}.chat") is not None

    await until(whole, 20)
    assert await config(service, f"CONSUMER.INFO.{ADVISORIES}.{DEAD_LETTERS}") is not None


async def test_without_room_a_mailbox_stays_pending_and_says_so(
    start_service: StartService,
) -> None:
    service = await start_service(mailbox_max_bytes=1 << 50)
    async with person(service, "alice@example.com") as alice:
        answer = await alice.call("PUT", "/v1/me/mailbox", json={"responses": True})
        assert answer.status_code == 200
        assert answer.json()["propagation"] == {
            "state": "pending",
            "servers": [],
            "detail": "nats-server has no room for another mailbox",
        }
        # Who needs none is served all the same.
        await alice.done("PUT", "/v1/me/mailbox", json={"responses": False})


async def test_changes_wait_for_nats_server(service: LiveService, alice: Person) -> None:
    pid = service.supervisor.pid
    assert pid is not None
    await service.supervisor.stop()
    await until(lambda: service.running.mail.reconciler._away() > 1, 20)
    answer = await alice.call("PUT", "/v1/me/apps/chat", json={"offline": True})
    assert answer.status_code == 200
    found = answer.json()["propagation"]
    assert (found["state"], found["detail"]) == ("pending", "nats-server can't be reached")
