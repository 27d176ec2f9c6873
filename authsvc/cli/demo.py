"""``authsvc up --demo``: two people's apps talk over the real parts, a third can't listen in.

Nothing is short-cut: tokens in SyftBox's own format, the real login route, the real nats-server.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
import uuid
from pathlib import Path

import jwt as pyjwt
import nats
from pydantic import SecretStr

from authsvc.cli.program import called, data_dir_option
from authsvc.errors import PermissionDenied
from authsvc.nkey import KeyPair, Prefix
from authsvc.rpc import AsyncClient, Request, Service
from authsvc.server.settings import Settings
from authsvc.subjects import token

__all__ = ["run", "say_next", "settings_for", "syftbox_token"]

ALICE, BOB, EVE = "alice@example.com", "bob@example.com", "eve@example.com"
_TOKEN_SECONDS = 3600


def settings_for(settings: Settings) -> Settings:
    """Settings with which the demonstration works on this machine alone.

    Its people reach the service here, whatever others call it, and are new; where no SyftBox
    secret is set, one is made that lives as long as this run.
    """
    secret = settings.syftbox_access_token_secret or SecretStr(secrets.token_urlsafe(48))
    return settings.model_copy(
        update={
            "syftbox_access_token_secret": secret,
            "public_url": None,
            "nats_urls": [],
            "auto_create_users": True,
        }
    )


def syftbox_token(email: str, settings: Settings) -> str:
    """An access token as a SyftBox server writes it, for the demonstration's people."""
    if settings.syftbox_access_token_secret is None:
        raise ValueError("the demonstration needs the SyftBox secret")
    now = int(time.time())
    claims = {
        "type": "access",
        "iss": settings.syftbox_issuer or "https://syftbox.net",
        "sub": email,
        "exp": now + _TOKEN_SECONDS,
        "iat": now,
        "jti": str(uuid.uuid4()),
    }
    return pyjwt.encode(claims, settings.syftbox_access_token_secret.get_secret_value(), "HS256")


async def run(url: str, settings: Settings) -> None:
    """Log three people in, let two talk, show the third being refused.

    Raises:
        RpcError: Something does not work as it should.
    """
    service = Service("pingpong")

    @service.on_request("/ping")
    async def ping(request: Request) -> dict[str, object]:
        return {"pong": request.json()["n"], "from": ALICE, "to": request.requester}

    def client(email: str) -> AsyncClient:
        return AsyncClient(
            url=url,
            token=lambda: syftbox_token(email, settings),
            key=KeyPair.generate(Prefix.USER),
        )

    print("\nThe demonstration, on the real parts:")
    async with client(ALICE) as alice, client(BOB) as bob, client(EVE) as eve:
        for person in (alice, bob, eve):
            _say(f"{person.username} logged in with a SyftBox token and has a NATS credential")
        serving = asyncio.create_task(service.serve(alice))
        try:
            await service.ready()
            peer = bob.peer(ALICE, "pingpong")
            started = time.perf_counter()
            response = await peer.call("/ping", json={"n": 1}, timeout=5)
            took = (time.perf_counter() - started) * 1000
            _say(f"bob called alice's app pingpong: {response.json()}, {took:.1f} ms")
            await _refused(eve, f"requests.*.{token(ALICE)}.>", "listen to what alice is asked")
            await _refused(eve, f"responses.{token(BOB)}.>", "read what bob is answered")
        finally:
            await service.stop()
            await serving
    _say("so each of them can be nobody else")


async def _refused(client: AsyncClient, subject: str, what: str) -> None:
    """Subscribe by a plain NATS client with the same credential, as an eavesdropper would."""
    login = client.session.login
    errors: asyncio.Queue[Exception] = asyncio.Queue()
    plain = await nats.connect(
        servers=list(login.servers),
        user_jwt_cb=login.jwt.encode,
        signature_cb=lambda nonce: base64.b64encode(login.key.sign(nonce.encode())),
        error_cb=errors.put,
    )
    try:
        await plain.subscribe(subject)
        await plain.flush()
        async with asyncio.timeout(5):
            error = await errors.get()
    except TimeoutError:
        raise PermissionDenied(f"eve could {what}: {subject} was not refused") from None
    finally:
        await plain.close()
    if "permissions violation" not in str(error).lower():
        raise error
    _say(f"eve tried to {what}: nats-server refused")


def _say(text: str) -> None:
    print(f"  - {text}", flush=True)


def say_next(data_dir: Path) -> None:
    """Three commands that show what the demonstration left, and how to go on from there."""
    here, run = data_dir_option(data_dir), called()
    print("\nTry next, in another terminal:")
    print(f"  {run} user list{here}")
    print(f"  {run} explain{here} {EVE} subscribe 'requests.*.{token(ALICE)}.>'")
    print(f"  {run} audit list{here}")
    print("or open the console's link above. Ctrl-C stops everything.")
    print("Then, with README.md, your own two apps in ten lines:")
    print(f"  {run} up --dev-login", flush=True)
