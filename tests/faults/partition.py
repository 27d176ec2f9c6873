"""One of three nats-servers is cut off from the others and the service, and comes back.

Started by ``test_partition``; prints what it saw as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import orjson
from nats.errors import Error as NatsError
from pydantic import SecretStr

from authsvc.cli.listening import http_served, listen
from authsvc.nkey import KeyPair
from authsvc.server.app import create_app, open_service
from authsvc.server.provision.config import Cluster, Listen, operator_config
from authsvc.server.provision.supervisor import Supervisor
from authsvc.server.settings import load
from authsvc.server.store import Store, open_store
from authsvc.subjects import token
from tests.faults.inside import Inside, connected, say
from tests.faults.network import Host, start_network
from tests.fixtures.authsvc import SECRET, LiveService
from tests.fixtures.waiting import until

ALICE, BOB, CAROL = "alice@example.com", "bob@example.com", "carol@example.com"
_APP = "chat"


@asynccontextmanager
async def serving(folder: Path, hosts: list[Host]) -> AsyncIterator[LiveService]:
    """The service beside the first two servers; the third it reaches through them."""
    settings = load(
        data_dir=folder / "data",
        database_url=f"sqlite:///{folder / 'authsvc.db'}",
        port=0,
        syftbox_access_token_secret=SecretStr(SECRET),
        nats_urls=[host.url for host in hosts],
        nats_internal_urls=[host.url for host in hosts[:2]],
        mailbox_replicas=3,
    )
    async with contextlib.AsyncExitStack() as stack:
        listening = stack.enter_context(listen("127.0.0.1", 0))
        settings = settings.model_copy(update={"port": listening.getsockname()[1]})
        store = await stack.enter_async_context(open_store(settings))
        for host in hosts:
            host.start(await _config(store, host, hosts))
            stack.callback(host.stop)
        running = await stack.enter_async_context(open_service(settings, store))
        await stack.enter_async_context(http_served(create_app(running), listening))
        url = f"http://127.0.0.1:{settings.port}"
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=20))
        nobody = cast("Supervisor", None)
        yield LiveService(running, nobody, url, hosts[0].url, http, settings)


async def _config(store: Store, host: Host, hosts: list[Host]) -> str:
    routes = [f"nats://{it.address}:{it.route_port}" for it in hosts if it is not host]
    return operator_config(
        Listen(host.address, host.port),
        operator=store.material.operator_jwt,
        system_account=store.material.system,
        preload=await store.account_jwts(),
        server_name=host.name,
        data_dir=str(host.folder),
        cluster=Cluster("test", host.address, host.route_port, routes, private_network=True),
    )


class Scenario:
    """What is done, and what is seen."""

    def __init__(self, service: LiveService, hosts: list[Host]) -> None:
        self.service = service
        self.hosts = hosts
        self.seen: dict[str, Any] = {}
        self.logins: dict[str, tuple[str, str, KeyPair]] = {}

    async def login(self, email: str) -> None:
        """Log in; the id, the JWT and the key."""
        answer = await self.service.login(email)
        assert answer.status_code == 201, answer.text
        found = answer.json()
        self.logins[email] = found["id"], found["jwt"], self.service.keys[email]

    async def lets_in(self, host: Host, email: str) -> bool:
        """Whether a server lets somebody in from here."""
        _, jwt, key = self.logins[email]
        client = await connected(host.url, jwt, key)
        if client is not None:
            await client.close()
        return client is not None

    async def applied(self) -> dict[str, bool]:
        """By name, whether a server has the account JWT."""
        status = (await self.service.admin("GET", "/v1/admin/nats/status")).json()
        return {
            it["name"]: it["answers"] and all(it["applied"].values()) for it in status["servers"]
        }

    async def whole(self) -> bool:
        """Whether all of them have it."""
        found = await self.applied()
        return len(found) == len(self.hosts) and all(found.values())

    async def mailbox(self) -> bool:
        """Whether bob's requests are kept, three times."""
        _, jwt, key = self.logins[BOB]
        path = f"/v1/me/apps/{_APP}"
        answer = await self.service.call("PUT", path, "DPoP", jwt, key, json={"offline": True})
        return bool(answer.json()["propagation"]["state"] == "applied")

    async def submit(self, number: int) -> bool:
        """Carol sends bob a request that is kept; whether it was acknowledged."""
        subject = f"requests.{token(CAROL)}.{token(BOB)}.{_APP}.stored"
        try:
            answer = await self._sender.request(subject, b"%d" % number, timeout=2, old_style=True)
        except (NatsError, TimeoutError):
            return False
        return bool("seq" in orjson.loads(answer.data))

    async def kept(self) -> int:
        """How many of them there are."""
        info = await self.service.running.mail.streams.ask(f"STREAM.INFO.requests_{token(BOB)}")
        return int(info["state"]["messages"])

    async def play(self) -> None:
        """All of it."""
        await until(self.whole, 30)
        for email in (ALICE, BOB, CAROL):
            await self.login(email)
        await until(self.mailbox, 40)
        sender = await connected(self.hosts[0].url, *self.logins[CAROL][1:])
        assert sender is not None
        self._sender = sender
        far = self.hosts[2]
        people = {email: Inside(far, *self.logins[email][1:]) for email in (ALICE, BOB)}
        late = Inside(far, *self.logins[ALICE][1:])
        try:
            for one in people.values():
                await one.start()
            await until(lambda: all(one.said == ["in"] for one in people.values()), 60)
            far.cut()
            await self._apart(late)
            assert all(one.said == ["in"] for one in people.values())
            healed = time.monotonic()
            far.heal()
            await until(lambda: "out" in people[ALICE].said, 30)
            self.seen["out after"] = time.monotonic() - healed
            await until(self.whole, 30)
            self.seen["whole after"] = time.monotonic() - healed
            self.seen["late"] = late.said
            self.seen["revoked gets in at last"] = await self.lets_in(far, ALICE)
            self.seen["new gets in at last"] = await self.lets_in(far, "new@example.com")
            self.seen["bystander"] = people[BOB].said
            self.seen["kept"] = await self.kept()
        finally:
            for one in (*people.values(), late):
                await one.stop()
            await sender.close()

    async def _apart(self, late: Inside) -> None:
        """While the third server is cut off."""
        near, credential = self.hosts[0], self.logins[ALICE][0]
        acknowledged = sum(await asyncio.gather(*map(self.submit, range(5))))
        began = time.monotonic()
        answer = await self.service.admin("POST", f"/v1/admin/credentials/{credential}/revoke")
        self.seen["revoked after"] = time.monotonic() - began
        found = answer.json()["propagation"]
        self.seen["state"] = found["state"]
        self.seen["named"] = {it["name"]: it["applied"] for it in found["servers"]}
        self.seen["status"] = await self.applied()
        self.seen["revoked gets in here"] = await self.lets_in(near, ALICE)
        await self.login("new@example.com")
        self.seen["new gets in here"] = await self.lets_in(near, "new@example.com")
        if near.apart:  # one that is stopped hears nobody
            await late.start()
            await until(lambda: late.said == ["in"], 60)
        # Where the stream's leader was cut off, the others elect another one.
        await until(lambda: self.submit(5), 20)
        acknowledged += 1 + sum(await asyncio.gather(*map(self.submit, range(6, 10))))
        self.seen["acknowledged"] = acknowledged
        self.seen["ready"] = (await self.service.http.get("/readyz")).status_code


async def main(folder: Path, *, apart: bool) -> None:
    """Play it, and print what was seen."""
    start_network(apart=apart)
    hosts = [Host(number, folder, apart=apart) for number in (1, 2, 3)]
    for host in hosts:
        host.plug_in()
    async with serving(folder, hosts) as service:
        scenario = Scenario(service, hosts)
        await scenario.play()
    say(orjson.dumps(scenario.seen | {"apart": apart}).decode())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), apart=sys.argv[2] == "apart"))
