"""``authsvc top``: the service while it works, live in the terminal."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from authsvc.cli.context import ContextDir, admin_api, find_context
from authsvc.cli.show import visible
from authsvc.errors import ApiError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from authsvc.admin_client import AdminApi

__all__ = ["top"]

_NOTHING = "-"


def top(
    *,
    data_dir: ContextDir = None,
    replica: Annotated[
        list[str] | None,
        typer.Option(help="URL of a replica; again for each. The service's URL unless given."),
    ] = None,
    interval: Annotated[
        float, typer.Option("--interval", "-n", min=0.1, help="Seconds between two looks.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="One interval, then end.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="A JSON object a line for each interval.")
    ] = False,
) -> None:
    """Logins, refusals, latency, nats-servers and mailboxes, live; Ctrl-C ends it.

    Behind a proxy that shares requests out, name the replicas: each counts for itself.

    Example: authsvc top --once --json
    """
    with ExitStack() as stack:
        asked = stack.enter_context(admin_api(data_dir))
        apis = [stack.enter_context(_replica(url, data_dir)) for url in replica or []] or [asked]
        looks = _looks(apis, asked, interval)
        with suppress(KeyboardInterrupt):
            if as_json or once or not sys.stdout.isatty():
                _print(looks, once=once, as_json=as_json)
            else:
                _show(looks, asked.url)


def _replica(url: str, data_dir: Any) -> AdminApi:
    from authsvc.admin_client import AdminApi  # noqa: PLC0415 - httpx is slow to import

    return AdminApi(url, find_context(data_dir).api_key)


def _looks(apis: list[AdminApi], asked: AdminApi, interval: float) -> Iterator[dict[str, Any]]:
    """What each interval brought, for ever."""
    from authsvc.cli.rates import between, read  # noqa: PLC0415

    def texts() -> list[str]:
        return [b"".join(api.lines("/metrics")).decode() for api in apis]

    before, at = read(*texts()), time.monotonic()
    while True:
        time.sleep(interval)
        after, now = read(*texts()), time.monotonic()
        found = between(before, after, now - at)
        yield {"at": time.time(), **found, "nats": _nats(asked)}
        before, at = after, now


def _nats(api: AdminApi) -> list[dict[str, Any]]:
    """The nats-servers; empty where the API key may not ask."""
    try:
        return list(api.get("/v1/admin/nats/status")["servers"])
    except ApiError as error:
        if error.status in {401, 403}:
            return []
        raise


def _print(looks: Iterator[dict[str, Any]], *, once: bool, as_json: bool) -> None:
    for found in looks:
        if as_json:
            print(json.dumps(found), flush=True)
        else:
            _console().print(_page(found))
        if once:
            return


def _console() -> Any:
    from rich.console import Console  # noqa: PLC0415 - slow to import

    return Console()


def _show(looks: Iterator[dict[str, Any]], url: str) -> None:
    from rich.live import Live  # noqa: PLC0415 - slow to import
    from rich.text import Text  # noqa: PLC0415

    with Live(Text(f"looking at {url} ..."), screen=True, auto_refresh=False) as live:
        for found in looks:
            live.update(_page(found), refresh=True)


def _page(found: dict[str, Any]) -> RenderableType:
    """One interval, for eyes."""
    from rich.columns import Columns  # noqa: PLC0415 - slow to import
    from rich.console import Group  # noqa: PLC0415

    rates, latency = found["rates"], found["latency"]
    mailboxes, database = found["mailboxes"], found["database"]
    left = _table(
        "a second",
        [(name, _number(rates[name])) for name in ("logins", "renewals", "callouts")]
        + [("requests", _number(rates["requests"])), ("refusals", _number(rates["refusals"]))]
        + [(f"  {problem}", _number(rate)) for problem, rate in found["refusals"].items()],
    )
    middle = _table(
        "took",
        [
            (f"{what} {name}", _number(latency[what][f"{name}_ms"], " ms"))
            for what in ("login", "all")
            for name in ("p50", "p99")
        ]
        + [("audit events unsealed", _number(found["audit_waiting"]))]
        + [("database", f"{database['in_use']:g} of {database['size']:g} in use")],
    )
    right = _table(
        "NATS",
        [
            ("connections", _number(found["connections"])),
            ("messages a second", _number(found["messages"])),
            ("servers", _number(found["servers"]["live"])),
            ("servers behind", _number(found["servers"]["behind"])),
            ("mailboxes", f"{mailboxes['users']:g}, {mailboxes['pending']:g} pending"),
            ("requests waiting", _number(mailboxes["requests"])),
            ("responses kept", _number(mailboxes["responses"])),
        ],
    )
    servers = _table(
        "nats-servers",
        [(server["name"], f"{server['version']}  {_state(server)}") for server in found["nats"]],
    )
    return Group(Columns([left, middle, right], padding=(0, 4)), servers)


def _state(server: dict[str, Any]) -> str:
    if not server["answers"]:
        return f"silent since {server['last_seen']}"
    return "up to date" if all(server["applied"].values()) else "behind"


def _table(title: str, rows: list[tuple[str, str]]) -> RenderableType:
    from rich.table import Table  # noqa: PLC0415 - slow to import
    from rich.text import Text  # noqa: PLC0415

    table = Table(title=title, title_justify="left", box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in rows:
        table.add_row(Text(visible(name)), Text(visible(value)))
    return table


def _number(value: float | None, unit: str = "") -> str:
    return _NOTHING if value is None else f"{value:g}{unit}"
