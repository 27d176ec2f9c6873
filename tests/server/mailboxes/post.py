"""Users with mailboxes, as their clients reach them: HTTP for changes, plain NATS for messages."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from authsvc import subjects
from authsvc.nkey import KeyPair
from authsvc.rpc._wire.frames import RequestFrame, encode_request
from authsvc.server.policy import JS_PREFIX, stream_names
from authsvc.server.provision.jetstream import JetStream
from tests.fixtures.authsvc import LiveService


@dataclass
class Person:
    """A user who is logged in, over HTTP and NATS."""

    service: LiveService
    name: str
    jwt: str
    key: KeyPair
    client: Client

    @property
    def token(self) -> str:
        return subjects.token(self.name)

    async def call(self, method: str, path: str, **kw: Any) -> httpx.Response:
        return await self.service.call(method, path, "DPoP", self.jwt, self.key, **kw)

    async def done(self, method: str, path: str, **kw: Any) -> dict[str, Any]:
        """The answer to a call that succeeds, and holds at nats-server where it changes it."""
        answer = await self.call(method, path, **kw)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        if "propagation" in found:
            assert found["propagation"]["state"] == "applied", found
        return found

    async def submit(
        self, to: Person, app: str = "chat", content: bytes = b"{}", **kw: Any
    ) -> dict[str, Any]:
        """Publish a stored request; nats-server's answer."""
        request_id = kw.get("request_id", secrets.token_hex(16))
        now = int(time.time() * 1000)
        deadline = now + kw.get("expires_ms", 900_000)
        frame = RequestFrame(request_id, now, deadline, "POST", "/ping", (), content)
        subject = subjects.Request(self.name, to.name, app, stored=True).text
        data = kw.get("data") or encode_request(frame)
        message = await self.client.request(
            subject, data, timeout=10, headers={"Nats-Msg-Id": request_id}
        )
        found: dict[str, Any] = orjson.loads(message.data)
        return {**found, "id": request_id}

    async def pull(self, app: str = "chat", **body: Any) -> Msg:
        """The next stored request, or the status that there is none."""
        requests, _ = stream_names(self.token)
        ask = orjson.dumps({"batch": 1, "no_wait": True, **body})
        message: Msg = await self.client.request(
            f"{JS_PREFIX}.CONSUMER.MSG.NEXT.{requests}.{app}", ask, timeout=15, old_style=True
        )
        return message

    async def read(self, subject: str) -> bytes | None:
        """A stored response; None if there is none."""
        _, responses = stream_names(self.token)
        ask = orjson.dumps({"last_by_subj": subject})
        answer = await self.client.request(
            f"{JS_PREFIX}.STREAM.MSG.GET.{responses}", ask, timeout=10
        )
        found = orjson.loads(answer.data)
        if "error" in found:
            assert found["error"]["err_code"] == 10037, found
            return None
        return base64.b64decode(found["message"]["data"])


def streams_of(service: LiveService) -> JetStream:
    """MAIL's API, as the service's own provisioner asks it."""
    return service.running.mail.reconciler._mailboxes._jetstream


async def config(service: LiveService, call: str) -> dict[str, Any] | None:
    """The configuration of a stream or consumer, if it is there."""
    found = await streams_of(service).find(call)
    return None if found is None else found["config"]


async def names(service: LiveService, *people: Person) -> set[str]:
    """The streams of all mailboxes, or of some people's."""
    found = await streams_of(service).stream_names() - {"advisories"}
    return found & {it for who in people for it in stream_names(who.token)} if people else found


@asynccontextmanager
async def person(service: LiveService, name: str, **body: Any) -> AsyncIterator[Person]:
    """Log somebody in and connect."""
    answer = await service.login(name, **body)
    assert answer.status_code == 201, answer.text
    jwt, key = answer.json()["jwt"], service.keys[name]
    client = Client()
    try:
        await client.connect(
            servers=[service.nats_url],
            user_jwt_cb=jwt.encode,
            signature_cb=lambda nonce: base64.b64encode(key.sign(nonce.encode())),
            inbox_prefix=subjects.inbox_prefix(name).encode(),
            reconnect_time_wait=1,  # with none nats-py tries without a pause
            max_reconnect_attempts=-1,
            error_cb=_ignore,
        )
        yield Person(service, name, jwt, key, client)
    finally:
        await client.close()


async def _ignore(_: Exception) -> None:
    """nats-py would log it with a traceback."""
