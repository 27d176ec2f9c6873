"""Somebody who logs in at a deployment by TLS, and connects to its nats-server."""

from __future__ import annotations

import base64
import secrets
import ssl
import time
from dataclasses import dataclass
from typing import Any

import httpx
from nats.aio.client import Client as NatsClient

from authsvc import dpop
from authsvc.nkey import KeyPair, Prefix
from tests.fixtures.authsvc import access_token

__all__ = ["Person", "api", "connected", "login"]


@dataclass(frozen=True)
class Person:
    """Who has a credential."""

    name: str
    key: KeyPair
    credential: dict[str, Any]


def api(address: str, name: str, trust: ssl.SSLContext, scheme: str = "https") -> httpx.AsyncClient:
    """A client of the API at an address, which checks the certificate for the name."""

    async def as_named(request: httpx.Request) -> None:
        request.extensions["sni_hostname"] = name

    return httpx.AsyncClient(
        base_url=f"{scheme}://{address}:8080",
        verify=trust,
        timeout=20,
        event_hooks={"request": [as_named]},
    )


async def login(http: httpx.AsyncClient, url: str, name: str) -> Person:
    """Log in.

    Args:
        http: From ``api``.
        url: The service's public URL, which the proof names.
        name: An e-mail address.
    """
    key, token = KeyPair.generate(Prefix.USER), access_token(name)
    proof = dpop.make(
        key,
        "POST",
        f"{url}/v1/credentials",
        token=token,
        now=time.time(),
        jti=secrets.token_hex(16),
    )
    headers = {"Authorization": f"Bearer {token}", "DPoP": proof}
    answer = await http.post("/v1/credentials", headers=headers)
    assert answer.status_code == 201, answer.text
    return Person(name, key, answer.json())


async def connected(person: Person, url: str, **options: Any) -> NatsClient:
    """A nats-py client, which reports a refusal at once."""

    async def ignore(_: Exception) -> None: ...

    client = NatsClient()
    await client.connect(
        url,
        user_jwt_cb=person.credential["jwt"].encode,
        signature_cb=lambda nonce: base64.b64encode(person.key.sign(nonce.encode())),
        inbox_prefix=person.credential["inbox_prefix"].encode(),
        allow_reconnect=False,
        max_reconnect_attempts=1,
        connect_timeout=5,
        error_cb=ignore,
        **options,
    )
    return client
