"""``authsvc rpc ping``: how long an app takes to answer, with statistics."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from authsvc.cli.rpc_credentials import (
    ContextName,
    Creds,
    Identity,
    Key,
    Method,
    Servers,
    TokenFile,
    Url,
)
from authsvc.cli.rpc_target import Target
from authsvc.cli.show import visible
from authsvc.errors import InvalidInput, RpcError

if TYPE_CHECKING:
    from authsvc.rpc import Peer

__all__ = ["ping"]

_EXIT_FAILED, _EXIT_UNAVAILABLE = 1, 4
_RESPONDER = "AUTHSVC_RESPONDER_"
_PIPE_WIDTH = 200


def ping(
    *,
    user: Annotated[str | None, typer.Option(help="Whose app.")] = None,
    app: Annotated[str | None, typer.Option(help="Which app.")] = None,
    path: Annotated[str, typer.Option(help="Path and query; any answer counts.")] = "/ping",
    count: Annotated[int, typer.Option("-c", "--count", min=1, help="How many.")] = 10,
    interval: Annotated[float, typer.Option("-i", min=0, help="Seconds between two.")] = 0.2,
    size: Annotated[int, typer.Option(min=0, help="Bytes to add to the body.")] = 0,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds to wait for each.")] = 5.0,
    matrix: Annotated[
        bool,
        typer.Option(
            "--matrix",
            help="Instead: requester and responder online and offline, all four cases, both of "
            "them here.",
        ),
    ] = False,
    responder_token_file: Annotated[
        Path | None,
        typer.Option(
            help="With --matrix: another person's identity token, who is the responder then; else "
            "AUTHSVC_RESPONDER_TOKEN_FILE or AUTHSVC_RESPONDER_TOKEN.",
        ),
    ] = None,
    responder_creds: Annotated[
        Path | None, typer.Option(help="With --matrix: the responder's .creds file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer as JSON.")] = False,
    url: Url = None,
    token_file: TokenFile = None,
    login_method: Method = None,
    key: Key = None,
    creds: Creds = None,
    server: Servers = None,
    context: ContextName = None,
) -> None:
    """Call an app again and again, one call after the other, and say how long that took.

    The body is JSON, `{"n": 1}` and so on. Exits with 4 when nothing was answered, with --matrix
    with 1 when one of the four cases failed.

    Example: authsvc rpc ping --user bob@example.com --app pingpong --count 100 -i 0
    """
    identity = Identity(url, token_file, login_method, key, creds, server, context=context)
    if matrix:
        if user is not None or app is not None:
            raise typer.BadParameter("--matrix asks an app of its own; leave --user and --app out")
        _matrix(identity, responder_token_file, responder_creds, as_json=as_json)
        return
    if user is None or app is None:
        raise typer.BadParameter("whose app, and which? --user bob@example.com --app pingpong")
    target = Target.parse(f"{user}/{app}")
    from authsvc.rpc import run  # noqa: PLC0415 - slow to import

    plan = _Plan(path, count, interval, size, timeout, quiet=as_json)
    tally = run(_pinged(identity, target, plan))
    if as_json:
        print(json.dumps({"user": target.user, "app": target.app, **tally.as_dict()}))
    else:
        print(tally.text())
    if not tally.took:
        raise typer.Exit(_EXIT_UNAVAILABLE)


def _matrix(
    identity: Identity, token_file: Path | None, creds: Path | None, *, as_json: bool
) -> None:
    from authsvc.cli import rpc_matrix  # noqa: PLC0415 - slow to import
    from authsvc.rpc import run  # noqa: PLC0415

    requester = identity.arguments()
    other = Identity(
        identity.url or requester.get("url"),
        token_file,
        identity.method,
        None,
        creds,
        identity.servers,
        prefix=_RESPONDER,
    )
    named = (
        token_file
        or creds
        or any(os.environ.get(_RESPONDER + name) for name in ("TOKEN", "TOKEN_FILE"))
    )
    if named and creds is not None:
        other = Identity(creds=creds, servers=requester.get("servers"), prefix=_RESPONDER)
    cells = run(rpc_matrix.measure(requester, other.arguments() if named else requester))
    if as_json:
        print(json.dumps({"cells": rpc_matrix.as_dicts(cells)}))
    else:
        _print_matrix(rpc_matrix.table(cells))
    if any(cell.error is not None for cell in cells):
        raise typer.Exit(_EXIT_FAILED)


def _print_matrix(rows: list[tuple[str, str, str]]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "responder online", "responder offline"):
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*[Text(visible(cell)) for cell in row])
    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)


@dataclass(frozen=True, slots=True)
class _Plan:
    path: str
    count: int
    interval: float
    size: int
    timeout: float
    quiet: bool


@dataclass(slots=True)
class _Tally:
    """How long each answered call took, in ms, and what became of the others."""

    took: list[float] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)

    @property
    def sent(self) -> int:
        return len(self.took) + sum(self.errors.values())

    def as_dict(self) -> dict[str, Any]:
        """Counts, and times in ms."""
        found: dict[str, Any] = {
            "sent": self.sent,
            "answered": len(self.took),
            "statuses": self.statuses,
            "errors": self.errors,
        }
        if self.took:
            ordered = sorted(self.took)
            found["ms"] = {
                "min": round(ordered[0], 3),
                "avg": round(statistics.fmean(ordered), 3),
                "p50": round(_quantile(ordered, 0.5), 3),
                "p95": round(_quantile(ordered, 0.95), 3),
                "p99": round(_quantile(ordered, 0.99), 3),
                "max": round(ordered[-1], 3),
            }
        return found

    def text(self) -> str:
        """The same for eyes."""
        found = self.as_dict()
        lost = ", ".join(f"{count} {name}" for name, count in self.errors.items())
        lines = [
            f"{found['sent']} sent, {found['answered']} answered" + (f"; {lost}" if lost else "")
        ]
        if "ms" in found:
            lines.append(
                "  ".join(f"{name} {value:.2f}" for name, value in found["ms"].items()) + " ms"
            )
        return "\n".join(lines)


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def _pinged(identity: Identity, target: Target, plan: _Plan) -> _Tally:
    import asyncio  # noqa: PLC0415 - slow to import

    from authsvc.rpc import AsyncClient  # noqa: PLC0415

    tally = _Tally()
    async with AsyncClient(name="authsvc rpc ping", **identity.arguments()) as client:
        peer = client.peer(target.user, target.app)
        for number in range(1, plan.count + 1):
            if number > 1:
                await asyncio.sleep(plan.interval)
            said = await _one(peer, number, plan, tally)
            if not plan.quiet:
                print(f"{target.user} {target.app}: n={number} {said}", flush=True)
    return tally


async def _one(peer: Peer, number: int, plan: _Plan, tally: _Tally) -> str:
    body: dict[str, Any] = {"n": number}
    if plan.size:
        body["pad"] = "." * plan.size
    start = time.perf_counter()
    try:
        response = await peer.call(plan.path, json=body, timeout=plan.timeout)
    except RpcError as error:
        name = type(error).__name__
        tally.errors[name] = tally.errors.get(name, 0) + 1
        return f"{name}: {error}"
    except InvalidInput as error:
        raise typer.BadParameter(str(error)) from None
    took = (time.perf_counter() - start) * 1000
    tally.took.append(took)
    status = str(response.status)
    tally.statuses[status] = tally.statuses.get(status, 0) + 1
    return f"status={status} time={took:.2f} ms"
