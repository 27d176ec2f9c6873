"""Programs that use the blocking client, each a process: exit, Ctrl-C, fork, notebooks."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from authsvc.claims import format_creds
from tests.fixtures.nats import NatsServer, Realm

# What every program begins with: bob answers in a thread, alice calls.
START = """
import asyncio, gc, os, signal, sys, threading, time
from authsvc.rpc import Client, Disconnected, RpcError, Service

url, alice_creds, bob_creds = sys.argv[1:]
service, begun = Service("app"), threading.Event()

@service.on_request("/echo")
async def echo(body: bytes) -> bytes:
    return body

@service.on_request("/slow", cancellable=False)
async def slow() -> str:
    begun.set()
    await asyncio.sleep(2)
    return "slow"

def serving(client):
    ready = threading.Event()
    threading.Thread(
        target=client.serve, args=[service], kwargs={"on_ready": ready.set}, daemon=True
    ).start()
    assert ready.wait(10)

def say(*words):
    print(*words, flush=True)

bob = Client(creds=bob_creds, servers=[url])
alice = Client(creds=alice_creds, servers=[url])
"""

PLAIN = """
with alice, bob:
    serving(bob)
    peer = alice.peer(bob.username, "app")
    say(peer.call("/echo", content="plain", timeout=5).text)
say([thread.name for thread in threading.enumerate() if thread.name.startswith("authsvc.rpc loop")])
"""

LEFT_OPEN = """
alice.connect()
bob.connect()
serving(bob)
peer = alice.peer(bob.username, "app")
def call():
    try:
        peer.call("/slow", timeout=30)
    except RpcError:
        pass
threading.Thread(target=call, daemon=True).start()
begun.wait(10)
say("over")
"""

FROZEN = """
alice.connect()
say("connected")
sys.stdin.readline()
say("over")
"""

INTERRUPTED = """
with alice, bob:
    serving(bob)
    peer = alice.peer(bob.username, "app")
    for _ in range(3):
        begun.clear()
        threading.Thread(
            target=lambda: begun.wait(10) and os.kill(os.getpid(), signal.SIGINT)
        ).start()
        try:
            peer.call("/slow", timeout=30)
        except KeyboardInterrupt:
            say("interrupted", peer.call("/echo", content="usable", timeout=5).text)
    while alice.stats.unknown < 3:
        time.sleep(0.01)
    say("late answers dropped")
    try:
        alice.serve(Service("other"), on_ready=lambda: os.kill(os.getpid(), signal.SIGINT))
    except KeyboardInterrupt:
        say("serving interrupted", peer.call("/echo", content="usable", timeout=5).text)
"""

STORM = """
import random
inside, over = [], threading.Event()

def handler(*_):
    if inside:
        inside.clear()
        raise KeyboardInterrupt

def storm():
    while not over.is_set():
        time.sleep(random.random() / 1000)
        os.kill(os.getpid(), signal.SIGINT)

with alice, bob:
    serving(bob)
    peer = alice.peer(bob.username, "app")
    signal.signal(signal.SIGINT, handler)
    threading.Thread(target=storm).start()
    interrupted = 0
    while interrupted < 300:
        try:
            inside.append(True)
            peer.call("/echo", timeout=30)
            inside.clear()
        except KeyboardInterrupt:
            interrupted += 1
    over.set()
    say(peer.call("/echo", content="usable", timeout=5).text)
    while len(alice._client._calls):
        time.sleep(0.01)
    say("nothing waits")
"""

FORKED = """
with alice, bob:
    serving(bob)
    peer = alice.peer(bob.username, "app")
    child = os.fork()
    if not child:
        for use in (lambda: peer.call("/echo"), alice.connect):
            try:
                use()
            except Disconnected as error:
                say("child:", error)
        alice.close()
        name = bob.username
        with Client(creds=alice_creds, servers=[url]) as own:
            say("child:", own.peer(name, "app").call("/echo", content="own", timeout=5).text)
        del own
        gc.collect()
        sys.exit(7)
    say("parent:", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    say("parent:", peer.call("/echo", content="goes on", timeout=5).text)
say("parent: over")
"""

BEFORE_FORK = """
with bob:
    serving(bob)
    name = bob.username
    child = os.fork()
    if not child:
        with alice:
            say("child:", alice.peer(name, "app").call("/echo", content="x", timeout=5).text)
        os._exit(0)
    os.waitpid(child, 0)
    with alice:
        say("parent:", alice.peer(name, "app").call("/echo", content="x", timeout=5).text)
"""

NOTEBOOK = """
async def cell():
    with alice, bob:
        serving(bob)
        say(alice.peer(bob.username, "app").call("/echo", content="in a cell", timeout=5).text)
    def interrupt():
        os.kill(os.getpid(), signal.SIGINT)
    service.run(creds=bob_creds, servers=[url], on_ready=interrupt)
    say("run is over")
    try:
        service.run(creds="/nowhere/x.creds", servers=[url])
    except RpcError as error:
        say(type(error).__name__)

asyncio.run(cell())
say(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""

# Whoever runs the tests in the background has the interrupt ignored, and so have their children.
INTERRUPTIBLE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"

# Before the rest: as if uvloop were not installed.
NO_UVLOOP = "import sys; sys.modules['uvloop'] = None\n"

BESIDE = """
ready = threading.Event()
runs = threading.Thread(
    target=service.run,
    kwargs={"creds": bob_creds, "servers": [url], "on_ready": ready.set},
    daemon=True,
)
runs.start()
assert ready.wait(10)
with alice:
    name = alice.username.replace("alice", "bob")
    say(alice.peer(name, "app").call("/echo", content="beside", timeout=5).text)
"""

# Newer Pythons warn of every fork beside threads, which is what is tried here.
WARNINGS = ["-W", "error", "-W", "ignore:This process:DeprecationWarning"]

Start = Callable[..., "subprocess.Popen[str]"]
_numbers = iter(range(1000))


@pytest.fixture
def start(nats_shared: tuple[Realm, NatsServer]) -> Start:
    """Starts a program; its standard error is part of what it prints."""
    realm, server = nats_shared

    def run(text: str, before: str = "") -> subprocess.Popen[str]:
        number = next(_numbers)
        texts = []
        for who in ("alice", "bob"):
            creds = realm.user_creds(f"{who}{number}.programs@example.com")
            texts.append(format_creds(creds.jwt, creds.key))
        return subprocess.Popen(
            [
                sys.executable,
                *WARNINGS,
                "-c",
                INTERRUPTIBLE + before + START + text,
                server.url,
                *texts,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return run


def printed(process: subprocess.Popen[str], seconds: float = 40) -> list[str]:
    """The lines of a program that ends by itself, and well."""
    with process:
        try:
            out, _ = process.communicate(timeout=seconds)
        finally:
            process.kill()
    assert process.returncode == 0, out
    return out.splitlines()


@pytest.mark.parametrize("before", ["", NO_UVLOOP], ids=["uvloop", "asyncio"])
def test_a_script_ends_and_leaves_nothing(start: Start, before: str) -> None:
    assert printed(start(PLAIN, before)) == ["plain", "[]"]


@pytest.mark.parametrize("before", ["", NO_UVLOOP], ids=["uvloop", "asyncio"])
def test_what_is_left_open_does_not_hold_the_exit(start: Start, before: str) -> None:
    assert printed(start(LEFT_OPEN, before)) == ["over"]


def test_a_silent_server_holds_the_exit_only_so_long(start: Start, tmp_path: Any) -> None:
    realm = Realm()
    server = NatsServer(realm, tmp_path)
    server.start()
    creds = realm.user_creds("alice@example.com")
    text = format_creds(creds.jwt, creds.key)
    process = subprocess.Popen(
        [sys.executable, "-c", START + FROZEN, server.url, text, text],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "connected\n"
        assert server._process is not None
        server.signal(signal.SIGSTOP)
        began = time.monotonic()
        assert printed(process) == ["over"]
        assert time.monotonic() - began < 20
    finally:
        server.signal(signal.SIGCONT)
        server.stop()


def test_an_interrupt_gives_one_call_up(start: Start) -> None:
    lines = printed(start(INTERRUPTED))
    late = ["late answers dropped", "serving interrupted usable"]
    assert lines == ["interrupted usable"] * 3 + late


@pytest.mark.parametrize("before", ["", NO_UVLOOP], ids=["uvloop", "asyncio"])
def test_interrupts_at_any_moment_leave_it_usable(start: Start, before: str) -> None:
    # Before it is awaited, a coroutine can be lost; Python says so on standard error.
    assert printed(start(STORM, before))[-2:] == ["usable", "nothing waits"]


@pytest.mark.parametrize("before", ["", NO_UVLOOP], ids=["uvloop", "asyncio"])
def test_a_forked_child_is_told_and_the_parent_goes_on(start: Start, before: str) -> None:
    lines = printed(start(FORKED, before))
    told = "child: this client was connected before the process was forked"
    assert [line[: len(told)] for line in lines[:2]] == [told] * 2
    assert lines[2:] == ["child: own", "parent: 7", "parent: goes on", "parent: over"]


def test_a_client_that_is_connected_after_the_fork_works_in_both(start: Start) -> None:
    assert printed(start(BEFORE_FORK)) == ["child: x", "parent: x"]


def test_a_notebook_may_block_its_own_loop(start: Start) -> None:
    assert printed(start(NOTEBOOK)) == ["in a cell", "run is over", "NotAuthenticated", "True"]


def test_a_service_runs_in_a_thread_beside_a_client(start: Start) -> None:
    assert printed(start(BESIDE)) == ["beside"]
