"""The servers of ``benchmarks.issue``; each prints ``port N`` when it can be asked.

authsvc DATABASE_URL [CERTIFICATE KEY]      with both by TLS
crypto
constant BYTES
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sys
import tempfile
import time
from pathlib import Path

import uvicorn
import uvloop
from fastapi import FastAPI, Request, Response
from pydantic import SecretStr

from authsvc import jose
from authsvc.cli.listening import http_served, listen
from authsvc.nkey import KeyPair, Prefix
from authsvc.server import logs, policy
from authsvc.server.api.proofs import present
from authsvc.server.app import create_app, open_service
from authsvc.server.issuer import Issuer
from authsvc.server.login import methods_from
from authsvc.server.settings import Settings, load
from authsvc.server.tls import Certificate
from authsvc.subjects import token
from benchmarks.issue import SECRET


def settings_for(folder: Path, database: str, port: int) -> Settings:
    return load(
        data_dir=folder,
        database_url=database,
        port=port,
        syftbox_access_token_secret=SecretStr(SECRET),
        nats_urls=["nats://127.0.0.1:4222"],
    )


def constant_app(size: int) -> FastAPI:
    """A route that returns a constant: as a dict, the usual way, and as ready-made bytes."""
    app = FastAPI()
    answer = {f"field{number}": "x" * 40 for number in range(14)}
    answer["jwt"] = "x" * (size - len(json.dumps(answer)) - 10)
    content = json.dumps(answer, separators=(",", ":")).encode()

    @app.post("/v1/credentials", status_code=201)
    async def constant() -> dict[str, str]:
        return answer

    @app.post("/bytes", status_code=201)
    async def ready() -> Response:
        return Response(content, 201, media_type="application/json")

    return app


def crypto_app(settings: Settings) -> FastAPI:
    """Everything that signatures need, and nothing else: no rows, no audit."""
    app = FastAPI()
    method = next(iter(methods_from(settings).values()))
    issuer = Issuer(KeyPair.generate(Prefix.ACCOUNT).public.text, KeyPair.generate(Prefix.ACCOUNT))
    origin = f"http://127.0.0.1:{settings.port}"

    @app.post("/v1/credentials", status_code=201)
    async def crypto(request: Request) -> Response:
        now = time.time()
        presented = present(request, "bearer", [origin], now)
        identity = await method.verify(presented.token, now)
        name = token(identity.username)
        minted = issuer.issue(
            token=name,
            public_key=presented.proof.public_key.text,
            credential=secrets.token_hex(13),
            permissions=policy.permissions(name),
            subscriptions=1000,
            payload=1 << 20,
            issued_at=int(now),
            expires_at=int(now) + 3600,
        )
        content = jose.dumps({"jwt": minted.jwt, "pad": "x" * 600})
        return Response(content, 201, media_type="application/json")

    return app


async def run(kind: str, arguments: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        logs.configure("json", file=folder / "log.jsonl")
        async with contextlib.AsyncExitStack() as stack:
            listening = stack.enter_context(listen("127.0.0.1", 0))
            port = listening.getsockname()[1]
            database = arguments[0] if kind == "authsvc" else "sqlite+aiosqlite://"
            settings = settings_for(folder, database, port)
            certificate = None
            if kind == "authsvc":
                if arguments[1:]:
                    certificate = Certificate(*map(Path, arguments[1:]))
                    settings = settings.model_copy(
                        update=dict(
                            zip(("tls_cert", "tls_key"), map(Path, arguments[1:]), strict=True)
                        )
                    )
                # No nats-server: issuing does not need one.
                settings = settings.model_copy(update={"nats_urls": []})
                app = create_app(await stack.enter_async_context(open_service(settings)))
            elif kind == "crypto":
                app = crypto_app(settings)
            else:
                app = constant_app(int(arguments[0]))
            if kind == "authsvc":
                await stack.enter_async_context(http_served(app, listening, certificate))
                print("port", port, flush=True)
                await asyncio.Event().wait()
            else:
                # As anybody would serve it: none of what authsvc does to its connections.
                config = uvicorn.Config(app, http="httptools", log_config=None, access_log=False)
                print("port", port, flush=True)
                await uvicorn.Server(config).serve(sockets=[listening])


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(sys.argv[1], sys.argv[2:]))
