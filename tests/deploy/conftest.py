"""docker-compose.yml, started without Docker, by TLS; and a browser that trusts its authority."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx

from tests.deploy.compose import Compose
from tests.deploy.people import api
from tests.fixtures.authority import Authority
from tests.fixtures.authsvc import ISSUER, SECRET
from tests.fixtures.postgres import Postgres
from tests.fixtures.waiting import until

API_NAME, NATS_NAME = "auth.authsvc.test", "nats.authsvc.test"
URL = f"https://{API_NAME}:8080"


class Deployed(Compose):
    """Everything by TLS, with one certificate for the names that clients and servers use."""

    def __init__(self, folder: Path, database_url: str, **variables: str) -> None:
        tls = folder / "tls"
        super().__init__(
            folder / "compose",
            {
                "POSTGRES_PASSWORD": "not-asked-for",
                "SYFTBOX_ACCESS_TOKEN_SECRET": SECRET,
                "SYFTBOX_ISSUER": ISSUER,
                "TLS_DIR": str(tls),
                "NATS_SCHEME": "tls",
                "PUBLIC_URL": URL,
                "NATS_URLS": f"tls://{NATS_NAME}:4222,wss://{NATS_NAME}:8081",
                **variables,
            },
            database_url,
        )
        self.authority = Authority(tls)
        # The servers' own addresses stand for their names in Docker's network.
        addresses = [container.address for container in self.containers.values()]
        self.pair = self.authority.issue(tls, API_NAME, NATS_NAME, *addresses)

    async def ready(self, *names: str) -> None:
        """Wait until replicas serve, and every nats-server has its accounts."""
        for name in names:
            await self[name].until("service_healthy")
            async with api(self[name].address, API_NAME, self.authority.trust()) as http:
                await until(partial(_is_ready, http), 90)


async def _is_ready(http: httpx.AsyncClient) -> bool:
    return (await http.get("/readyz")).status_code == 200


@asynccontextmanager
async def fresh_database(postgres: Postgres) -> AsyncIterator[str]:
    """The URL of a database without tables, gone afterwards."""
    name = f"deploy_{uuid.uuid4().hex}"
    await postgres.sql(f"CREATE DATABASE {name}")
    yield postgres.url(name)
    await postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")
