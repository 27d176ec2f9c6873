"""``authsvc top``: what it shows is what happened."""

from __future__ import annotations

import asyncio
import json
import math
import os
import pty
import signal
import sys

import pytest

from authsvc.cli.rates import between, quantile, read
from tests.cli.shell import Shell

# Where the tests run in the background, programs are started with SIGINT ignored.
_INTERRUPTIBLE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from authsvc.cli import main; main()"
)


async def test_one_interval_as_json_and_for_eyes(admin_shell: Shell) -> None:
    shell, service = admin_shell, admin_shell.service

    async def busy() -> None:
        number = 0
        while True:
            number += 1
            await service.login(f"user{number}@example.com")
            await service.login("eve@example.com", token="no-token")

    working = asyncio.create_task(busy())
    try:
        ran = await shell.ok("top", "--once", "--json", "--interval", "1")
        text = await shell.ok("top", "--once", "--interval", "0.5", "--replica", service.url)
    finally:
        working.cancel()
    found = json.loads(ran.out)
    assert found["rates"]["logins"] > 0
    assert found["refusals"] == {"unauthenticated": found["rates"]["refusals"]}
    assert 0 < found["latency"]["login"]["p50_ms"] <= found["latency"]["login"]["p99_ms"]
    assert found["servers"] == {"live": 1, "behind": 0}
    assert found["nats"][0]["name"] == "authsvc-nats"
    for shown in ("logins", "unauthenticated", "login p99", "authsvc-nats", "up to date"):
        assert shown in text.out
    weak = await shell("top", "--once", "-n", "0.1", "--json", AUTHSVC_API_KEY="authsvc_none")
    assert json.loads(weak.out)["nats"] == []
    assert (await shell("top", "--once", AUTHSVC_URL="http://127.0.0.1:1")).code == 4


async def test_live_in_a_terminal_until_ctrl_c(admin_shell: Shell) -> None:
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _INTERRUPTIBLE, "top", "--interval", "0.1"),
        env={**os.environ, **admin_shell.env, "TERM": "xterm-256color", "COLUMNS": "120"},
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    async with asyncio.timeout(20):
        while shown.count(b"servers behind") < 2:
            shown += await asyncio.to_thread(os.read, ours, 65536)
        process.send_signal(signal.SIGINT)
        draining = asyncio.create_task(asyncio.to_thread(_drain, ours))
        assert await process.wait() == 0
        await draining
    os.close(ours)


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 65536):
            pass
    except OSError:
        pass  # what a terminal's end is, once nobody has the other one


def test_quantiles_are_those_of_prometheus() -> None:
    before = {0.1: 0.0, 0.2: 0.0, 1.0: 0.0, math.inf: 0.0}
    after = {0.1: 50.0, 0.2: 90.0, 1.0: 100.0, math.inf: 100.0}
    assert quantile(0.5, before, after) == 0.1
    assert quantile(0.9, before, after) == 0.2
    assert quantile(0.99, before, after) == pytest.approx(0.92)
    assert quantile(0.5, after, after) is None
    assert quantile(0.5, {}, {}) is None
    assert quantile(0.99, before, {0.1: 0.0, math.inf: 5.0}) == 0.1


def test_a_counter_that_fell_says_nothing() -> None:
    name = "authsvc_http_requests_total"
    texts = [f"# TYPE {name} counter\n{name} {value}\n" for value in (10, 4, 6)]
    first, second, third = map(read, texts)
    assert between(first, second, 1)["rates"]["requests"] is None
    assert between(second, third, 2)["rates"]["requests"] == 1
    assert between(read(*texts[:2]), read(texts[0], texts[2]), 1)["rates"]["requests"] == 2
