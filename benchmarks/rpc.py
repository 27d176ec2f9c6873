"""RPC calls against raw nats-py request/reply: one client process, one responder process.

    python benchmarks/rpc.py [--json] [--rounds 7] [--seconds 1.0] [--no-uvloop]

Rounds alternate between ours and raw, each first once; ratios are taken inside a round and the
medians over rounds are printed. Raw has the same server, the same account and unlimited
permissions; its answers come back on nats-py's own inbox. Both get uvloop, or neither.
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

import nats
from nats.aio.msg import Msg

from authsvc.claims import (
    AccountClaims,
    OperatorClaims,
    Permission,
    Permissions,
    UserClaims,
    encode,
    format_creds,
)
from authsvc.nkey import KeyPair, Prefix
from authsvc.rpc import AsyncClient, Request, Service, run

PAYLOAD = b"x" * 64
CONCURRENCY = 64


def server_config(folder: Path, port: int) -> tuple[str, dict[str, str]]:
    """An operator, one account, three users; the library's have only what the contract allows."""
    operator, account = KeyPair.generate(Prefix.OPERATOR), KeyPair.generate(Prefix.ACCOUNT)
    now = int(time.time())
    operator_jwt = encode(
        OperatorClaims(subject=operator.public.text, name="bench", issued_at=now), operator
    )
    account_jwt = encode(
        AccountClaims(subject=account.public.text, name="people", issued_at=now), operator
    )
    creds = {}
    for name in ("alice", "bob", "raw"):
        key = KeyPair.generate(Prefix.USER)
        allowed = Permissions()
        if name != "raw":
            allowed = Permissions(
                publish=Permission(allow=(f"requests.{name}.>", f"responses.*.{name}.>")),
                subscribe=Permission(
                    allow=(f"responses.{name}.>", f"requests.*.{name}.>", f"_INBOX.{name}.>")
                ),
            )
        claims = UserClaims(subject=key.public.text, name=name, permissions=allowed, issued_at=now)
        path = folder / f"{name}.creds"
        path.write_text(format_creds(encode(claims, account), key))
        creds[name] = str(path)
    config = (
        f'listen: "127.0.0.1:{port}"\noperator: {operator_jwt}\nresolver: MEMORY\n'
        f"resolver_preload: {{ {account.public.text}: {account_jwt} }}\n"
    )
    return config, creds


async def respond(url: str, creds: dict[str, str], *, offline: bool = False) -> None:
    """The responder process: both ways at once."""
    service = Service("bench", offline=offline)

    @service.on_request("/echo")
    async def echo(request: Request) -> bytes:
        return request.content

    raw = await nats.connect(url, user_credentials=creds["raw"])

    async def answer(message: Msg) -> None:
        await message.respond(message.data)

    await raw.subscribe("raw.echo", queue="bench", cb=answer)
    async with AsyncClient(creds=creds["bob"], servers=[url]) as client:
        await service.serve(client, on_ready=lambda: print("ready", flush=True))


Call = Callable[[], Awaitable[Any]]


async def sequential(call: Call, seconds: float) -> list[float]:
    """How long each call took, one after the other."""
    took = []
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        await call()
        took.append(time.perf_counter() - start)
    return took


async def concurrent(call: Call, seconds: float) -> tuple[float, list[float]]:
    """Calls per second with 64 in flight, and how long each took."""
    took: list[float] = []
    begin = time.perf_counter()
    end = begin + seconds

    async def worker() -> None:
        while (start := time.perf_counter()) < end:
            await call()
            took.append(time.perf_counter() - start)

    await asyncio.gather(*[worker() for _ in range(CONCURRENCY)])
    return len(took) / (time.perf_counter() - begin), took


async def measure(url: str, creds: dict[str, str], rounds: int, seconds: float) -> dict[str, Any]:
    """All rounds; every number once for ours and once for raw."""
    raw = await nats.connect(url, user_credentials=creds["raw"])
    async with AsyncClient(creds=creds["alice"], servers=[url]) as client:
        bob = client.peer("bob", "bench")

        async def ours_call() -> Any:
            return await bob.call("/echo", content=PAYLOAD, timeout=5)

        async def raw_call() -> Any:
            return await raw.request("raw.echo", PAYLOAD, timeout=5)

        ways: dict[str, Call] = {"ours": ours_call, "raw": raw_call}
        assert (await ours_call()).content == (await raw_call()).data == PAYLOAD
        results: dict[str, dict[str, list[float]]] = {
            name: {"rate": [], "p50_us": [], "p99_us": []} for name in ways
        }
        for number in range(rounds + 1):
            for name in sorted(ways, reverse=bool(number % 2)):
                took = await sequential(ways[name], seconds / 2)
                rate, loaded = await concurrent(ways[name], seconds)
                if number:  # the first round warms up
                    found = results[name]
                    found["p50_us"].append(statistics.median(took) * 1e6)
                    found["rate"].append(rate)
                    found["p99_us"].append(statistics.quantiles(loaded, n=100)[98] * 1e6)
    await raw.close()
    return summary(results)


def summary(results: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Medians, and medians of the ratios inside each round."""

    def ratio(what: str) -> float:
        pairs = zip(results["ours"][what], results["raw"][what], strict=True)
        return round(statistics.median(ours / raw for ours, raw in pairs), 3)

    medians = {
        name: {what: round(statistics.median(values), 1) for what, values in found.items()}
        for name, found in results.items()
    }
    return {
        "throughput_ratio": ratio("rate"),
        "p50_ratio": ratio("p50_us"),
        "p99_ratio": ratio("p99_us"),
        "payload_bytes": len(PAYLOAD),
        "concurrency": CONCURRENCY,
    } | medians


def go(main: Any, *, uvloop: bool) -> Any:
    return run(main) if uvloop else asyncio.run(main)


def free_port() -> int:
    import socket  # noqa: PLC0415

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def servers(*, uvloop: bool) -> Iterator[tuple[str, dict[str, str]]]:
    """nats-server and the responder, each a process: their URL and the credentials."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        config, creds = server_config(folder, port)
        (folder / "nats.conf").write_text(config)
        url = f"nats://127.0.0.1:{port}"
        beside = Path(sys.executable).with_name("nats-server")
        command = str(beside) if beside.exists() else "nats-server"
        server = subprocess.Popen(
            [command, "-c", str(folder / "nats.conf")], stderr=subprocess.DEVNULL
        )
        time.sleep(0.5)
        extra = [] if uvloop else ["--no-uvloop"]
        responder = subprocess.Popen(
            [sys.executable, __file__, "--respond", url, json.dumps(creds), *extra],
            stdout=subprocess.PIPE,
        )
        try:
            assert responder.stdout is not None
            assert responder.stdout.readline().strip() == b"ready"
            yield url, creds
        finally:
            for process in (responder, server):
                process.terminate()
                process.wait(10)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--no-uvloop", action="store_true")
    parser.add_argument("--respond", nargs=2, metavar=("URL", "CREDS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    uvloop = not options.no_uvloop
    if options.respond:
        go(respond(options.respond[0], json.loads(options.respond[1])), uvloop=uvloop)
        return
    with servers(uvloop=uvloop) as (url, creds):
        found = go(measure(url, creds, options.rounds, options.seconds), uvloop=uvloop)
    if options.json:
        print(json.dumps(found))
        return
    for side in ("ours", "raw"):
        print(
            f"{side:5} {found[side]['rate']:9.0f} calls/s at {CONCURRENCY}, "
            f"p50 {found[side]['p50_us']:6.0f} us alone, p99 {found[side]['p99_us']:6.0f} us"
        )
    print(
        f"throughput {found['throughput_ratio']} of raw, p50 {found['p50_ratio']}, "
        f"p99 {found['p99_ratio']}"
    )


if __name__ == "__main__":
    main()
