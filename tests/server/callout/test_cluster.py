"""Auth callout on three nats-servers, whose configuration names no sentinel."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError
from pydantic import SecretStr
from sqlalchemy import select
from sqlmodel import col

from authsvc import subjects
from authsvc.claims import parse_creds
from authsvc.server import audit
from authsvc.server.app import open_service
from authsvc.server.models import Credential
from authsvc.server.provision.config import Listen, operator_config
from authsvc.server.provision.ports import choose_port
from authsvc.server.sessions import revoke_credential
from authsvc.server.settings import load
from authsvc.server.store import Store, open_store
from tests.fixtures.authsvc import SECRET, access_token
from tests.fixtures.nats import HOST, NatsServer, Realm, connect_options
from tests.server.callout.clients import about, until

ALICE = "alice@example.com"


class Node(NatsServer):
    """One of the servers, with the service's operator and accounts."""

    store: Store
    jwts: dict[str, str]

    def config(self) -> str:
        return operator_config(
            Listen(HOST, self.port),
            operator=self.store.material.operator_jwt,
            system_account=self.store.material.system,
            preload=self.jwts,
            server_name=self.name,
            data_dir=str(self.folder),
            cluster=self._cluster,
        )


async def start(store: Store, folder: Path) -> list[Node]:
    ports, realm = [choose_port(HOST) for _ in range(3)], Realm()
    nodes = [
        Node(realm, folder / f"n{place}", name=f"n{place}", cluster_port=port, routes=tuple(ports))
        for place, port in enumerate(ports)
    ]
    for node in nodes:
        node.store, node.jwts = store, await store.account_jwts()
        node.start(ready=False)
    for node in nodes:
        node.wait_ready()
    return nodes


async def test_any_server_asks_and_any_server_cuts(tmp_path: Path, sqlite_url: str) -> None:
    settings = load(
        data_dir=tmp_path,
        database_url=sqlite_url,
        callout=True,
        syftbox_access_token_secret=SecretStr(SECRET),
    )
    async with contextlib.AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(settings))
        assert store.door is not None
        nodes = await start(store, tmp_path)
        for node in nodes:
            stack.callback(node.stop)
        urls = [node.url for node in nodes]
        running = await stack.enter_async_context(
            open_service(settings.model_copy(update={"nats_urls": urls}), store)
        )
        people = running.material.people_id
        async with asyncio.timeout(20):
            found = await running.reconciler.propagate(people)
            while len(found.servers) < len(nodes):
                found = await running.reconciler.propagate(people)
        options = connect_options(parse_creds(store.door.sentinel_creds))

        async def come(node: Node, token: str) -> Client:
            client = Client()
            stack.push_async_callback(client.close)
            await client.connect(
                node.url,
                token=token,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                inbox_prefix=f"_INBOX.{subjects.token(ALICE)}".encode(),
                error_cb=_ignore,
                **options,
            )
            return client

        clients = [await come(node, access_token(ALICE)) for node in nodes]
        for client in clients:
            assert (await about(client))["account"] == running.material.people
            with pytest.raises(NatsError, match="Authorization Violation"):
                await come(nodes[0], "x")
        async with running.database.reading() as session:
            ids = list(
                await session.scalars(select(col(Credential.id)).order_by(col(Credential.id)))
            )
        for credential in ids[1:]:
            async with running.database.writing() as session:
                await revoke_credential(
                    session,
                    credential,
                    account_id=people,
                    context=audit.Context(audit.Actor("service", "test"), "", ""),
                    now=time.time(),
                )
        found = await running.reconciler.propagate(people)
        assert found.state == "applied"
        await until(lambda: clients[1].is_closed and clients[2].is_closed)
        await about(clients[0])
        # The server through which the service hears questions dies: it hears them by another.
        fault: Any = running.faults["callout"]
        lost = fault.__self__._connection.client.connected_url.port
        (node,) = [node for node in nodes if node.port == lost]
        node.stop(kill=True)
        await until(lambda: fault() is not None)
        await until(lambda: fault() is None)
        for other in nodes:
            if other is not node:
                await about(await come(other, access_token(ALICE)))


async def _ignore(_error: Exception) -> None:
    """nats-py's own logs every error with a traceback."""
