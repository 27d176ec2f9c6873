"""Where is measured: on a NATS of our own, or on one that is deployed; and who calls whom."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from authsvc.errors import StartRefused
from authsvc.nkey import KeyPair, Prefix
from authsvc.rpc.testing import LocalServer

__all__ = ["Place", "deployed", "local"]

# Room for the largest bodies: what is in flight and not yet acknowledged.
_SETTINGS = {"MAILBOX_MAX_BYTES": str(256 * 1024 * 1024)}
_REQUESTER, _RESPONDER = "alice@example.com", "bob@example.com"


@dataclass(frozen=True, slots=True)
class Place:
    """A responder that is ready, and how to reach it.

    Args:
        name: For eyes.
        arguments: The requester's credentials, as AsyncClient takes them.
        responder: Whose apps answer.
        word: What their names begin with.
        stores: Whether requests can be stored there.
        http_url: Where the FastAPI app is; None where it would not be compared fairly.
    """

    name: str
    arguments: dict[str, Any] = field(repr=False)
    responder: str
    word: str
    stores: bool
    http_url: str | None


@contextmanager
def local() -> Iterator[Place]:
    """An authsvc and a nats-server of our own, and two people who log in there."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(LocalServer(folder / "server", _SETTINGS))
        common = {"url": server.url, "method": "dev"}
        key = folder / "bob.nk"
        told = stack.enter_context(_responder({**common, "token": _RESPONDER, "key": str(key)}))
        mine = {**common, "token": _REQUESTER, "key": KeyPair.generate(Prefix.USER)}
        http_url = f"http://127.0.0.1:{told['http_port']}"
        yield Place("a nats-server on this machine", mine, *_who(told), http_url)


@contextmanager
def deployed(arguments: dict[str, Any]) -> Iterator[Place]:
    """A NATS that runs already; one person calls an app of their own there.

    Args:
        arguments: Credentials, as AsyncClient takes them.
    """
    token = arguments.get("token")
    told = {name: str(value) for name, value in arguments.items() if value and name != "servers"}
    if callable(token):
        told["token"] = token()
    told_servers = {**told, "servers": list(arguments.get("servers") or ())}
    with _responder(told_servers) as found:
        here = all(urlsplit(url).hostname in {"127.0.0.1", "localhost"} for url in found["servers"])
        mine = dict(arguments)
        if not mine.get("creds") and not mine.get("key") and mine.get("token"):
            mine["key"] = KeyPair.generate(Prefix.USER)
        # Over loopback against a network: that would compare the network.
        http_url = f"http://127.0.0.1:{found['http_port']}" if here else None
        yield Place("a deployed NATS", mine, *_who(found), http_url)


def _who(told: dict[str, Any]) -> tuple[str, str, bool]:
    return told["username"], told["word"], told["stores"]


@contextmanager
def _responder(arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The responder process; it is told who it is by its standard input, and by nothing else."""
    way = "kernel" if sys.platform == "linux" else "pipe"
    guard = [sys.executable, "-m", "authsvc.server.provision.guard", way, str(os.getpid())]
    process = subprocess.Popen(  # noqa: S603  our own program
        [
            *(guard if way == "kernel" else ()),
            *(sys.executable, "-m", "authsvc.cli.rpc_bench.responder"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        if process.stdin is None or process.stdout is None:
            raise StartRefused("the responder has no pipes")
        word = f"bench-{secrets.token_hex(4)}"
        process.stdin.write(json.dumps(arguments | {"word": word}).encode() + b"\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise StartRefused("the responder could not start; what it said stands above")
        yield json.loads(line) | {"word": word}
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
