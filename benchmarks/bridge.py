"""The HTTP bridge against raw nats-py, and against the same app over loopback TCP.

    python -m benchmarks.bridge [--json] [--rounds 5] [--seconds 1.0]

One FastAPI app, one route, 64 bytes each way. ``bridge`` is httpx over the async transport and
NATS, ``transport`` the same without httpx's client, ``client`` that client with a transport
that answers at once (no bridge can be quicker by httpx), ``tcp`` httpx over loopback to uvicorn
(httptools), ``raw`` nats-py's own request/reply without HTTP. Each in its own responder process,
all on uvloop. In each round every way is measured at 1, 8 and 64 requests in flight, in an order
that turns; ratios are taken inside a round, and the medians over the rounds are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import nats
from fastapi import FastAPI, Request, Response
from nats.aio.msg import Msg

from authsvc.rpc import AsyncClient, run
from authsvc.rpc.http import serve_asgi
from benchmarks.rpc import free_port, server_config

PAYLOAD = b"x" * 64
LEVELS = (1, 8, 64)
Call = Callable[[], Awaitable[Any]]


def make_app() -> FastAPI:
    app = FastAPI()

    @app.post("/echo")
    async def echo(request: Request) -> Response:
        return Response(await request.body(), media_type="application/octet-stream")

    return app


def respond(way: str, url: str, creds: dict[str, str], port: int) -> None:
    """A responder process."""
    if way == "bridge":
        ready = lambda: print("ready", flush=True)  # noqa: E731
        serve_asgi(make_app(), "bench", creds=creds["bob"], servers=[url], on_ready=ready)
    elif way == "tcp":
        import uvicorn  # noqa: PLC0415

        config = uvicorn.Config(
            make_app(), port=port, log_level="critical", access_log=False, timeout_keep_alive=600
        )
        print("ready", flush=True)
        uvicorn.Server(config).run()
    else:
        run(respond_raw(url, creds["raw"]))


async def respond_raw(url: str, creds: str) -> None:
    client = await nats.connect(url, user_credentials=creds)

    async def answer(message: Msg) -> None:
        await message.respond(message.data)

    await client.subscribe("raw.echo", queue="bench", cb=answer)
    await client.flush()
    print("ready", flush=True)
    await asyncio.Event().wait()


class AtOnce(httpx.AsyncBaseTransport):
    """Answers without asking anybody."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        headers = {"content-length": str(len(PAYLOAD)), "content-type": "application/octet-stream"}
        return httpx.Response(200, headers=headers, stream=httpx.ByteStream(request.content))


async def rate(call: Call, seconds: float, level: int) -> float:
    """Calls per second with so many in flight."""
    count = 0
    begin = time.perf_counter()
    end = begin + seconds

    async def worker() -> None:
        nonlocal count
        while time.perf_counter() < end:
            await call()
            count += 1

    await asyncio.gather(*[worker() for _ in range(level)])
    return count / (time.perf_counter() - begin)


async def measure(
    url: str, creds: dict[str, str], port: int, rounds: int, seconds: float
) -> dict[str, Any]:
    raw = await nats.connect(url, user_credentials=creds["raw"])
    async with (
        AsyncClient(creds=creds["alice"], servers=[url]) as client,
        httpx.AsyncClient(
            transport=client.peer("bob", "bench").transport(), base_url="http://bob", timeout=10
        ) as bridge,
        httpx.AsyncClient(transport=AtOnce(), base_url="http://bob", timeout=10) as alone,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as tcp,
    ):

        def posting(http: httpx.AsyncClient) -> Call:
            async def call() -> Any:
                response = await http.post("/echo", content=PAYLOAD)
                assert response.content == PAYLOAD
                return response

            return call

        async def raw_call() -> Any:
            return await raw.request("raw.echo", PAYLOAD, timeout=5)

        transport = client.peer("bob", "bench").transport()
        request = bridge.build_request("POST", "/echo", content=PAYLOAD)

        async def transport_call() -> Any:
            response = await transport.handle_async_request(request)
            assert await response.aread() == PAYLOAD
            return response

        ways: dict[str, Call] = {
            "bridge": posting(bridge),
            "transport": transport_call,
            "client": posting(alone),
            "tcp": posting(tcp),
            "raw": raw_call,
        }
        await answering(ways["tcp"])
        names = list(ways)
        found: dict[str, dict[int, list[float]]] = {
            name: {level: [] for level in LEVELS} for name in names
        }
        for number in range(rounds + 1):
            for level in LEVELS:
                for place in range(len(names)):
                    name = names[(place + number) % len(names)]
                    reached = await rate(ways[name], seconds, level)
                    if number:  # the first round warms up
                        found[name][level].append(reached)
    await raw.close()
    return summary(found)


async def answering(call: Call) -> None:
    """Wait until the server answers."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(httpx.TransportError):
                await call()
                return
            await asyncio.sleep(0.05)


def summary(found: dict[str, dict[int, list[float]]]) -> dict[str, Any]:
    """Medians, and medians of the ratios inside each round."""

    def ratio(way: str, rival: str, level: int) -> float:
        pairs = zip(found[way][level], found[rival][level], strict=True)
        return round(statistics.median(ours / theirs for ours, theirs in pairs), 3)

    return {
        "rates": {
            name: {str(level): round(statistics.median(values)) for level, values in levels.items()}
            for name, levels in found.items()
        },
        "of_raw": {str(level): ratio("bridge", "raw", level) for level in LEVELS},
        "transport_of_raw": {str(level): ratio("transport", "raw", level) for level in LEVELS},
        "client_of_raw": {str(level): ratio("client", "raw", level) for level in LEVELS},
        "of_tcp": {str(level): ratio("bridge", "tcp", level) for level in LEVELS},
    }


@contextlib.contextmanager
def responding(url: str, creds: dict[str, str], port: int) -> Iterator[None]:
    """The three responder processes."""
    started = []
    try:
        for way in ("bridge", "tcp", "raw"):
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.bridge", "--respond", way, url,
                 json.dumps(creds), str(port)],
                stdout=subprocess.PIPE,
            )  # fmt: skip
            started.append(process)
            assert process.stdout is not None
            assert process.stdout.readline().strip() == b"ready"
        yield
    finally:
        for process in started:
            process.terminate()
            process.wait(10)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--respond", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.respond:
        way, url, creds, port = options.respond
        respond(way, url, json.loads(creds), int(port))
        return
    with tempfile.TemporaryDirectory() as name:
        folder, port, http_port = Path(name), free_port(), free_port()
        config, known = server_config(folder, port)
        (folder / "nats.conf").write_text(config)
        url = f"nats://127.0.0.1:{port}"
        beside = Path(sys.executable).with_name("nats-server")
        server = subprocess.Popen(
            [str(beside) if beside.exists() else "nats-server", "-c", str(folder / "nats.conf")],
            stderr=subprocess.DEVNULL,
        )
        time.sleep(0.5)
        try:
            with responding(url, known, http_port):
                found = run(measure(url, known, http_port, options.rounds, options.seconds))
        finally:
            server.terminate()
            server.wait(10)
    if options.json:
        print(json.dumps(found))
        return
    for level in map(str, LEVELS):
        rates = "  ".join(f"{name} {levels[level]:6}/s" for name, levels in found["rates"].items())
        print(
            f"{level:>2} in flight: {rates}  "
            f"bridge is {found['of_raw'][level]} of raw (transport alone "
            f"{found['transport_of_raw'][level]}, client alone "
            f"{found['client_of_raw'][level]}), {found['of_tcp'][level]} of tcp"
        )


if __name__ == "__main__":
    main()
