"""The rivals' connection: nats-py as it is, with the same credential as ours."""

from __future__ import annotations

import base64
from typing import Any

import nats
from nats.aio.client import Client as NatsClient

from authsvc.rpc import Login

__all__ = ["LIVE", "MICRO", "RAW", "STORED", "connect_raw"]

LIVE, STORED, RAW, MICRO = "live", "stored", "raw", "micro"
"""What the responder's apps are called, after a word that is new in each run."""


async def connect_raw(login: Login, inbox_prefix: str | None = None) -> NatsClient:
    """A plain nats-py connection of the same user.

    Args:
        login: The credential.
        inbox_prefix: Where answers to ``request`` come; a subject that both may use.
    """
    options: dict[str, Any] = {}
    if inbox_prefix is not None:
        options["inbox_prefix"] = inbox_prefix.encode("ascii")

    async def ignore(_: Exception) -> None:
        """The discovery subjects of nats micro are refused, which a call does not notice."""

    return await nats.connect(
        servers=list(login.servers),
        user_jwt_cb=login.jwt.encode,
        signature_cb=lambda nonce: base64.b64encode(login.key.sign(nonce.encode())),
        error_cb=ignore,
        **options,
    )
