"""The stored path against raw core request/reply, at 64 at a time; memory of pending futures.

    python benchmarks/stored.py [--json] [--rounds 7] [--seconds 1.0] [--futures 10000]

Stored: the request is on disk before ``submit`` returns, handled, its answer is on disk, and only
then the request is acknowledged; people and streams live in two accounts, as the service makes
them. Raw: nats-py's request and reply in an account of its own, on the same server. Requester,
responder and nats-server are three processes. Rounds alternate; the ratio is taken inside a round
and the median is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import nats

from authsvc.claims import (
    AccountClaims,
    Permission,
    Permissions,
    UserClaims,
    encode,
    format_creds,
)
from authsvc.nkey import KeyPair, Prefix
from authsvc.rpc import AsyncClient, DeadlineExceeded, Future, run
from authsvc.server.policy import permissions
from authsvc.server.provision import accounts
from authsvc.server.provision.jetstream import JetStream
from authsvc.server.provision.mail_streams import Bounds, Desired
from authsvc.server.provision.mailbox import Mailboxes
from benchmarks.rpc import CONCURRENCY, PAYLOAD, free_port, respond


class Setup:
    """An operator, the two accounts, one more for raw, and what each user logs in with."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.now = folder, int(time.time())
        operator, system = KeyPair.generate(Prefix.OPERATOR), KeyPair.generate(Prefix.ACCOUNT)
        signing = KeyPair.generate(Prefix.OPERATOR)
        people, mail, raw = [KeyPair.generate(Prefix.ACCOUNT) for _ in range(3)]
        operator_jwt = encode(
            accounts.operator_claims(
                subject=operator.public.text,
                name="bench",
                signing_keys=[signing.public.text],
                system_account=system.public.text,
                issued_at=self.now,
            ),
            operator,
        )
        keys: dict[str, KeyPair] = {name: KeyPair.generate(Prefix.ACCOUNT) for name in "pmr"}
        common: dict[str, Any] = {"revocations": {}, "issued_at": self.now}
        claims = [
            accounts.people_account(
                subject=people.public.text,
                name="people",
                mail_account=mail.public.text,
                signing_keys=[keys["p"].public.text],
                **common,
            ),
            accounts.mail_account(
                subject=mail.public.text,
                name="mail",
                signing_keys=[keys["m"].public.text],
                **common,
            ),
            accounts.system_account(
                subject=system.public.text, name="system", signing_keys=[], **common
            ),
            AccountClaims(
                subject=raw.public.text,
                name="raw",
                signing_keys={keys["r"].public.text: None},
                issued_at=self.now,
            ),
        ]
        preload = "\n".join(f"  {one.subject}: {encode(one, signing)}" for one in claims)
        self.config = (
            f'listen: "127.0.0.1:{port}"\noperator: {operator_jwt}\n'
            f"system_account: {system.public.text}\nresolver: MEMORY\n"
            f'jetstream {{ store_dir: "{folder}/js" }}\nresolver_preload: {{\n{preload}\n}}\n'
        )
        self.creds = {
            name: self._user(name, people, keys["p"], permissions=permissions(name))
            for name in ("alice", "bob")
        }
        everything = Permissions(
            publish=Permission(allow=(">",)), subscribe=Permission(allow=(">",))
        )
        self.creds["mail"] = self._user("mail", mail, keys["m"], permissions=everything)
        self.creds["raw"] = self._user("raw", raw, keys["r"])

    def _user(self, name: str, account: KeyPair, signing: KeyPair, **more: Any) -> str:
        key = KeyPair.generate(Prefix.USER)
        claims = UserClaims(
            subject=key.public.text,
            name=name,
            issuer_account=account.public.text,
            issued_at=self.now,
            **more,
        )
        path = self.folder / f"{name}.creds"
        path.write_text(format_creds(encode(claims, signing), key))
        return str(path)


async def make_streams(url: str, creds: str) -> None:
    """Bob's requests for two apps, alice's responses; as the service makes them, but larger."""
    client = await nats.connect(url, user_credentials=creds)
    jetstream = JetStream(lambda: client)
    mailboxes = Mailboxes(jetstream, jetstream, Bounds(max_bytes=1 << 28))
    for name, apps in (("bob", ("bench", "idle")), ("alice", ())):
        wanted = Desired(name, name, apps, responses=True, max_pending=100_000)
        await mailboxes.apply(wanted)
    await client.close()


Call = Callable[[], Awaitable[Any]]


async def rate(call: Call, seconds: float) -> tuple[float, float]:
    """Calls per second with 64 at a time, and the median ms of one."""
    took: list[float] = []
    begin = time.perf_counter()
    end = begin + seconds

    async def worker() -> None:
        while (start := time.perf_counter()) < end:
            await call()
            took.append(time.perf_counter() - start)

    await asyncio.gather(*[worker() for _ in range(CONCURRENCY)])
    return len(took) / (time.perf_counter() - begin), statistics.median(took) * 1000


async def measure(url: str, creds: dict[str, str], options: argparse.Namespace) -> dict[str, Any]:
    raw = await nats.connect(url, user_credentials=creds["raw"])
    async with AsyncClient(creds=creds["alice"], servers=[url]) as client:
        bob = client.peer("bob", "bench")

        async def stored_call() -> Any:
            future = await bob.submit("/echo", content=PAYLOAD, expires="15m")
            return await future.result(30)

        async def raw_call() -> Any:
            return await raw.request("raw.echo", PAYLOAD, timeout=5)

        ways: dict[str, Call] = {"stored": stored_call, "raw": raw_call}
        used = await memory(client, options.futures)
        assert (await stored_call()).content == (await raw_call()).data == PAYLOAD
        rates: dict[str, list[float]] = {name: [] for name in ways}
        delays: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(options.rounds + 1):
            for name in sorted(ways, reverse=bool(number % 2)):
                found, delay = await rate(ways[name], options.seconds)
                if number:  # the first round warms up
                    rates[name].append(found)
                    delays[name].append(delay)
        await raw.close()
        ratios = [ours / other for ours, other in zip(rates["stored"], rates["raw"], strict=True)]
        return {
            "throughput_ratio": round(statistics.median(ratios), 3),
            "concurrency": CONCURRENCY,
            "payload_bytes": len(PAYLOAD),
            "stored_per_s": round(statistics.median(rates["stored"])),
            "raw_per_s": round(statistics.median(rates["raw"])),
            "stored_p50_ms": round(statistics.median(delays["stored"]), 2),
            "raw_p50_ms": round(statistics.median(delays["raw"]), 2),
            **used,
        }


async def memory(client: AsyncClient, count: int) -> dict[str, Any]:
    """Resident memory of so many futures that wait, and what is left when they are dropped."""
    if not count:
        return {}
    peer = client.peer("bob", "idle")  # nobody takes them
    futures: list[Future] = []
    await peer.submit("/echo", content=PAYLOAD)
    gc.collect()
    before = resident()
    while len(futures) < count:
        some = [peer.submit("/echo", content=PAYLOAD, expires="1h") for _ in range(100)]
        futures += await asyncio.gather(*some)
    gc.collect()
    held = resident()
    waiting = [asyncio.create_task(one.result(3)) for one in futures]
    await asyncio.sleep(0.5)
    gc.collect()
    awaited = resident()
    await asyncio.wait(waiting)
    assert all(isinstance(task.exception(), DeadlineExceeded) for task in waiting)
    waiting.clear()
    futures.clear()
    gc.collect()
    return {
        "futures": count,
        "bytes_per_future": round((held - before) / count),
        "bytes_per_awaited_future": round((awaited - before) / count),
        "futures_left": len(client.mailbox),
    }


def resident() -> int:
    """Bytes of this process in memory."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--futures", type=int, default=10_000, help="0 leaves memory out")
    parser.add_argument("--respond", nargs=2, metavar=("URL", "CREDS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.respond:
        run(respond(options.respond[0], json.loads(options.respond[1]), offline=True))
        return
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        setup = Setup(folder, port)
        (folder / "nats.conf").write_text(setup.config)
        url = f"nats://127.0.0.1:{port}"
        beside = Path(sys.executable).with_name("nats-server")
        server = subprocess.Popen(
            [str(beside) if beside.exists() else "nats-server", "-c", str(folder / "nats.conf")],
            stderr=subprocess.DEVNULL,
        )
        time.sleep(1)
        responder = None
        try:
            run(make_streams(url, setup.creds["mail"]))
            responder = subprocess.Popen(
                [sys.executable, __file__, "--respond", url, json.dumps(setup.creds)],
                stdout=subprocess.PIPE,
            )
            assert responder.stdout is not None
            assert responder.stdout.readline().strip() == b"ready"
            found = run(measure(url, setup.creds, options))
        finally:
            for process in filter(None, (responder, server)):
                process.terminate()
                process.wait(10)
    if options.json:
        print(json.dumps(found))
        return
    for side in ("stored", "raw"):
        print(f"{side:6} {found[f'{side}_per_s']:7d}/s, p50 {found[f'{side}_p50_ms']} ms")
    print(f"stored path {found['throughput_ratio']} of raw at {CONCURRENCY}")
    if options.futures:
        print(
            f"{found['futures']} pending futures: {found['bytes_per_future']} bytes each, "
            f"{found['bytes_per_awaited_future']} with a task that waits for it; "
            f"{found['futures_left']} left when they are dropped"
        )


if __name__ == "__main__":
    main()
