"""``authsvc bench rpc``: the options; what they mean is in ``rpc_bench``."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from authsvc.cli.rpc_bench import Grid, Place, Report

__all__ = ["bench_rpc"]

_OUTPUT = Path("docs") / "benchmarks"


def bench_rpc(
    *,
    size: Annotated[
        list[int] | None,
        typer.Option(min=0, max=8_000_000, help="Bytes of a body; again for each."),
    ] = None,
    concurrency: Annotated[
        list[int] | None,
        typer.Option(min=1, max=1024, help="Calls at a time; again for each."),
    ] = None,
    way: Annotated[
        list[str] | None, typer.Option(help="Only this way, such as live; again for each.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each number is measured.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.01, help="How long, each time.")] = 0.4,
    output: Annotated[Path, typer.Option(help="The folder for table and plot.")] = _OUTPUT,
    files: Annotated[bool, typer.Option(help="Write table and plot.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Answer as JSON.")] = False,
    deployed: Annotated[
        bool,
        typer.Option(
            "--deployed",
            help="On a NATS that runs already, as the person that the options below or SyftBox's "
            "configuration name; they mean it too.",
        ),
    ] = False,
    url: Url = None,
    token_file: TokenFile = None,
    login_method: Method = None,
    key: Key = None,
    creds: Creds = None,
    server: Servers = None,
    context: ContextName = None,
) -> None:
    """Time calls of all sizes against raw nats-py, nats micro and FastAPI, in turns.

    Without options it starts an authsvc and a nats-server of its own. On a deployed NATS one
    person calls an app of their own; give it a quiet hour, it takes what it can get.

    Example: authsvc bench rpc --rounds 3 --size 10 --size 1000
    """
    from authsvc.cli import rpc_bench  # noqa: PLC0415 - FastAPI and nats-py are slow to import

    usual = rpc_bench.Grid()
    grid = rpc_bench.Grid(
        sizes=tuple(sorted(set(size or usual.sizes))),
        concurrency=tuple(sorted(set(concurrency or usual.concurrency))),
        rounds=rounds,
        seconds=seconds,
    )
    identity = Identity(url, token_file, login_method, key, creds, server, context=context)
    there = deployed or identity != Identity()
    where = rpc_bench.deployed(identity.arguments()) if there else rpc_bench.local()
    report = _measured(where, grid, way or [])
    written = rpc_bench.write(report, output) if files else []
    if as_json:
        print(json.dumps(rpc_bench.as_dict(report)))
        return
    print(rpc_bench.table(report))
    for name, value in rpc_bench.figures(report).items():
        print(f"{name:28} {value:.2f}")
    for path in written:
        print(f"written: {path}")
    if written and not any(path.suffix == ".svg" for path in written):
        print("no plot: pip install 'authsvc[bench]'", file=sys.stderr)


def _measured(where: AbstractContextManager[Place], grid: Grid, names: list[str]) -> Report:
    from authsvc.cli import rpc_bench  # noqa: PLC0415
    from authsvc.rpc import run  # noqa: PLC0415

    with where as place:
        found, missing = rpc_bench.ways(place)
        try:
            chosen = rpc_bench.known(names, found)
        except ValueError as error:
            raise typer.BadParameter(f"--way: {error}") from None
        for line in missing:
            print(line, file=sys.stderr)
        samples = run(rpc_bench.measure(place, chosen, grid, _tell))
    return rpc_bench.Report(place.name, chosen, grid, samples)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
