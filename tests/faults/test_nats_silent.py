"""The line to nats-server falls silent: what is sent is taken, and nothing comes back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from authsvc.server.provision import connection
from authsvc.server.provision.resolver import Resolver
from tests.faults.conftest import Wire
from tests.fixtures.nats import NatsKit
from tests.fixtures.waiting import until


async def test_a_half_open_connection_to_nats_server_is_given_up_and_made_anew(
    nats_kit: NatsKit, new_wire: Callable[[int], Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_PING_SECONDS", 0.3)
    wire = new_wire(nats_kit.server.port)
    await wire.start()
    creds, people = nats_kit.realm.system_creds(), nats_kit.realm.people
    resolver = Resolver([f"nats://127.0.0.1:{wire.port}"], creds.jwt, creds.key)
    try:
        assert await resolver.connect(10)
        assert len(await resolver.servers()) == 1
        wire.open.clear()
        # Nothing is believed of a server that says nothing.
        answers = await resolver.push(nats_kit.realm.account_jwt(people))
        assert [answer.applied for answer in answers] == [False]
        await until(lambda: not resolver.connected)
        assert resolver.error
        # When the line is well again, one is made by itself.
        await wire.cut()
        wire.open.set()
        await wire.start()
        await until(lambda: resolver.connected)

        async def answers_again() -> bool:
            await resolver.servers()
            return len(resolver.awake()) == 1

        await until(answers_again)
    finally:
        await resolver.close()
