"""The responder process: an echo by each way at once; those that are not called cost nothing.

It reads one line of JSON, the arguments of AsyncClient, and answers with one when it is ready.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi import Request as HttpRequest
from fastapi import Response as HttpResponse
from nats.aio.client import Client as NatsClient
from nats.aio.msg import Msg
from nats.micro import add_service
from nats.micro.request import Request as MicroRequest

from authsvc.cli.rpc_bench.raw import LIVE, MICRO, RAW, STORED, connect_raw
from authsvc.errors import AuthsvcError
from authsvc.rpc import AsyncClient, Request, Service
from authsvc.rpc._loops.running import run_until_told
from authsvc.subjects import token

__all__ = ["main"]

_KEEP_ALIVE_SECONDS = 600


async def _serve_raw(connection: NatsClient, me: str, app: str) -> None:
    async def answer(message: Msg) -> None:
        await message.respond(message.data)

    await connection.subscribe(f"requests.*.{me}.{app}", queue=app, cb=answer)


async def _serve_micro(connection: NatsClient, me: str, app: str) -> None:
    async def answer(request: MicroRequest) -> None:
        await request.respond(request.data)

    found = await add_service(connection, name=app, version="1.0.0")
    await found.add_endpoint(name="echo", handler=answer, subject=f"requests.*.{me}.{app}")


def _http_app() -> FastAPI:
    app = FastAPI()

    @app.post("/echo")
    async def echo(request: HttpRequest) -> HttpResponse:
        return HttpResponse(await request.body())

    return app


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The process has its own."""
        yield


def _http_server() -> _Server:
    return _Server(
        uvicorn.Config(
            _http_app(),
            loop="none",
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )
    )


def _listen() -> socket.socket:
    # asyncio sets TCP_NODELAY only where the protocol is named.
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found.bind(("127.0.0.1", 0))
    found.listen(2048)
    return found


def _service(app: str, *, offline: bool) -> Service:
    service = Service(app, offline=offline)

    @service.on_request("/echo")
    async def echo(request: Request) -> bytes:
        return request.content

    return service


async def _main(arguments: dict[str, Any]) -> None:
    word = arguments.pop("word")
    with _listen() as listening:
        http = asyncio.create_task(_http_server().serve(sockets=[listening]))
        async with AsyncClient(**arguments) as client:
            login = client.session.login
            me = token(login.username)
            await _serve_raw(await connect_raw(login), me, f"{word}-{RAW}")
            await _serve_micro(await connect_raw(login), me, f"{word}-{MICRO}")
            live = _service(f"{word}-{LIVE}", offline=False)
            stored = _service(f"{word}-{STORED}", offline=True)
            serving = [asyncio.create_task(service.serve(client)) for service in (live, stored)]
            try:
                await live.ready()
                await stored.ready()
                told = {
                    "username": login.username,
                    "servers": list(login.servers),
                    "http_port": listening.getsockname()[1],
                    "stores": client.session.api is not None,
                }
                print(json.dumps(told), flush=True)
                await asyncio.gather(*serving)
            finally:
                await _forget(client, stored.name)
        http.cancel()


async def _forget(client: AsyncClient, app: str) -> None:
    """Leave nothing behind on a NATS that is somebody's."""
    api = client.session.api
    if api is not None:
        with contextlib.suppress(AuthsvcError):
            await api.delete_app(client.session.login.jwt, app)


def main() -> None:
    """Run until the requester ends it."""
    try:
        run_until_told(_main(json.loads(sys.stdin.readline())))
    except AuthsvcError as error:
        print(f"authsvc: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
