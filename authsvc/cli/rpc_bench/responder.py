"""The responder process: an echo by each way at once; those that are not called cost nothing.

It reads one line of JSON, the arguments of AsyncClient, and answers with one when it is ready.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi import Request as HttpRequest
from fastapi import Response as HttpResponse
from nats.aio.client import Client as NatsClient
from nats.aio.msg import Msg
from nats.micro import add_service
from nats.micro.request import Request as MicroRequest

from authsvc.cli.rpc_bench.raw import APP, MICRO_APP, RAW_APP, connect_raw
from authsvc.errors import AuthsvcError
from authsvc.rpc import AsyncClient, Request, Service, run
from authsvc.subjects import token

__all__ = ["main"]

_KEEP_ALIVE_SECONDS = 600


async def _serve_raw(connection: NatsClient, me: str) -> None:
    async def answer(message: Msg) -> None:
        await message.respond(message.data)

    await connection.subscribe(f"requests.*.{me}.{RAW_APP}", queue=RAW_APP, cb=answer)


async def _serve_micro(connection: NatsClient, me: str) -> None:
    async def answer(request: MicroRequest) -> None:
        await request.respond(request.data)

    found = await add_service(connection, name=MICRO_APP, version="1.0.0")
    await found.add_endpoint(name="echo", handler=answer, subject=f"requests.*.{me}.{MICRO_APP}")


def _http_app() -> FastAPI:
    app = FastAPI()

    @app.post("/echo")
    async def echo(request: HttpRequest) -> HttpResponse:
        return HttpResponse(await request.body())

    return app


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        """The process has its own."""


def _listen() -> socket.socket:
    # asyncio sets TCP_NODELAY only where the protocol is named.
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found.bind(("127.0.0.1", 0))
    found.listen(2048)
    return found


def _service() -> Service:
    service = Service(APP)

    @service.on_request("/echo")
    async def echo(request: Request) -> bytes:
        return request.content

    return service


async def _main(arguments: dict[str, Any]) -> None:
    service = _service()
    with _listen() as listening:
        http = _Server(
            uvicorn.Config(
                _http_app(),
                loop="none",
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            )
        )
        serving = asyncio.create_task(http.serve(sockets=[listening]))
        async with AsyncClient(**arguments) as client:
            login = client.session.login
            me = token(login.username)
            await _serve_raw(await connect_raw(login), me)
            await _serve_micro(await connect_raw(login), me)
            told = {
                "username": login.username,
                "servers": list(login.servers),
                "http_port": listening.getsockname()[1],
            }
            await service.serve(client, on_ready=lambda: print(json.dumps(told), flush=True))
        serving.cancel()


def main() -> None:
    """Run until the requester ends it."""
    try:
        run(_main(json.loads(sys.stdin.readline())))
    except AuthsvcError as error:
        print(f"authsvc: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
