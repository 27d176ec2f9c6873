"""The Typer app. Commands import what they need when they run, so that each starts quickly."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.models import CommandInfo

from authsvc import __version__, errors
from authsvc.cli import (
    api_key,
    audit,
    bench_rpc,
    completion,
    credential,
    db,
    device,
    enrolment_key,
    grant,
    key,
    nats,
    rpc,
    user,
    whoami,
)
from authsvc.cli import app as user_app
from authsvc.cli.backup import backup
from authsvc.cli.console import console
from authsvc.cli.doctor import doctor
from authsvc.cli.explain import explain
from authsvc.cli.login import login
from authsvc.cli.restore import restore
from authsvc.cli.status import status
from authsvc.cli.top import top

__all__ = ["app", "run"]

app = typer.Typer(
    name="authsvc",
    help="Who may talk to whom on NATS in the SyftBox network.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
bench_app = typer.Typer(help="Measure, against a rival in the same run.", no_args_is_help=True)
app.add_typer(nats.app, name="nats")
app.add_typer(bench_app, name="bench")
app.add_typer(audit.app, name="audit")
app.add_typer(key.app, name="key")
app.add_typer(rpc.app, name="rpc")
bench_app.command("rpc")(bench_rpc.bench_rpc)
app.add_typer(user.app, name="user")
app.add_typer(user_app.app, name="app")
app.add_typer(db.app, name="db")
app.command()(completion.completion)
app.add_typer(credential.app, name="credential")
app.add_typer(grant.app, name="grant")
app.add_typer(api_key.app, name="api-key")
app.add_typer(enrolment_key.app, name="enrolment-key")
app.add_typer(device.app, name="device")
app.command()(console)
app.add_typer(whoami.app, name="context")
app.command()(login)
app.command()(whoami.whoami)
app.command()(whoami.logout)
app.command()(explain)
app.command()(doctor)
app.command()(status)
app.command()(top)
app.command()(backup)
app.command()(restore)

EXIT_FAILED, EXIT_USAGE, EXIT_REFUSED, EXIT_UNAVAILABLE = 1, 2, 3, 4
_API_EXITS = {
    401: EXIT_REFUSED,
    403: EXIT_REFUSED,
    429: EXIT_UNAVAILABLE,
    502: EXIT_UNAVAILABLE,
    503: EXIT_UNAVAILABLE,
    504: EXIT_UNAVAILABLE,
}

DataDir = Annotated[
    Path | None, typer.Option(help="Where keys, database and nats-server's files are.")
]
Host = Annotated[str | None, typer.Option(help="The address to listen on.")]
Port = Annotated[
    int | None, typer.Option(min=0, max=65535, help="The API's port; 0: any free one.")
]
TlsCert = Annotated[
    Path | None, typer.Option(help="Certificate chain, PEM; the API speaks TLS alone then.")
]
TlsKey = Annotated[Path | None, typer.Option(help="The certificate's private key, PEM.")]
AsJson = Annotated[bool, typer.Option("--json", help="Answer as JSON.")]


def run() -> None:
    """Run a command; what was raised on purpose becomes a line and an exit code."""
    _keep_only(sys.argv[1:2])
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except errors.AuthsvcError as error:
        print(f"authsvc: {error}", file=sys.stderr)
        raise SystemExit(exit_code(error)) from None
    except BrokenPipeError:
        # Whoever read the output has enough; what is still buffered must not fail again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(EXIT_FAILED) from None
    except OSError as error:
        # A folder that can't be made, a file that can't be written: no traceback helps there.
        where = f"{error.filename}: " if error.filename else ""
        print(f"authsvc: {where}{error.strerror or error}", file=sys.stderr)
        raise SystemExit(EXIT_FAILED) from None


def _keep_only(names: list[str]) -> None:
    """Forget all commands but the one that is asked for: typer builds every one that it knows."""
    groups = [group for group in app.registered_groups if group.name in names]
    commands = [it for it in app.registered_commands if _name(it) in names]
    if groups or commands:
        app.registered_groups, app.registered_commands = groups, commands


def _name(command: CommandInfo) -> str:
    return command.name or str(getattr(command.callback, "__name__", ""))


def exit_code(error: errors.AuthsvcError) -> int:
    """The exit code for an error; contract, section 5."""
    if isinstance(error, errors.AuthenticationFailed | errors.Forbidden | errors.PermissionDenied):
        return EXIT_REFUSED
    if isinstance(error, errors.NotAuthenticated):
        return EXIT_REFUSED
    if isinstance(error, errors.Unavailable | errors.NoResponder | errors.Disconnected):
        return EXIT_UNAVAILABLE
    if isinstance(error, errors.DeadlineExceeded):
        return EXIT_UNAVAILABLE
    if isinstance(error, errors.ApiError):
        return _API_EXITS.get(error.status, EXIT_FAILED)
    return EXIT_FAILED


def _version(*, show: bool) -> None:
    if show:
        print(__version__)
        raise typer.Exit


@app.callback()
def authsvc(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=lambda value: _version(show=value), is_eager=True)
    ] = False,
) -> None:
    """Who may talk to whom on NATS in the SyftBox network."""


@app.command()
def up(
    *,
    data_dir: DataDir = None,
    host: Host = None,
    port: Port = None,
    nats_port: Annotated[
        int, typer.Option(min=0, max=65535, help="nats-server's port; 0: any free one.")
    ] = 4222,
    ws_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Websocket port; 0: any free one; none unless given."),
    ] = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    dev_login: Annotated[
        bool, typer.Option(help="Let people log in by e-mail only. Loopback only, never for use.")
    ] = False,
    demo: Annotated[
        bool, typer.Option(help="Show two people talking and a third being refused.")
    ] = False,
    once: Annotated[bool, typer.Option(help="With --demo: stop after it.")] = False,
) -> None:
    """Run everything on this machine: API, database, keys and a nats-server.

    Example: authsvc up --data-dir ./data --demo
    """
    from authsvc.cli.progress import step  # noqa: PLC0415

    with step("authsvc is loaded"):
        from authsvc.cli.up import Options, serve_all  # noqa: PLC0415
        from authsvc.server.settings import load  # noqa: PLC0415

    given = {
        "data_dir": data_dir,
        "host": host,
        "port": port,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "dev_login": dev_login or None,
    }
    settings = load(**{name: value for name, value in given.items() if value is not None})
    options = Options(nats_port=nats_port, ws_port=ws_port, demo=demo or once, once=once)
    _run(serve_all(settings, options))


@app.command()
def serve(
    *,
    data_dir: DataDir = None,
    host: Host = None,
    port: Port = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
) -> None:
    """Run the API alone, against AUTHSVC_DATABASE_URL and AUTHSVC_NATS_INTERNAL_URLS.

    Example: AUTHSVC_DATABASE_URL=postgresql+asyncpg://... authsvc serve --host 0.0.0.0
    """
    from authsvc.cli.up import serve_api  # noqa: PLC0415
    from authsvc.server.settings import load  # noqa: PLC0415

    given = {
        "data_dir": data_dir,
        "host": host,
        "port": port,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
    }
    settings = load(**{name: value for name, value in given.items() if value is not None})
    _run(serve_api(settings))


@bench_app.command("mint")
def bench_mint(
    *,
    seconds: Annotated[float, typer.Option(help="How long, in seconds.")] = 4.0,
    as_json: AsJson = False,
) -> None:
    """User JWTs minted per CPU second, against a bare PyNaCl and orjson loop.

    Example: authsvc bench mint --json
    """
    from authsvc.cli.bench import mint  # noqa: PLC0415

    found = mint(seconds)
    if as_json:
        print(json.dumps(found))
    else:
        rate, ratio = found["mint_per_cpu_s"], found["ratio"]
        print(f"{rate:.0f} JWTs per CPU second, {ratio:.2f} of the bare loop")


def _run(main: Coroutine[Any, Any, int]) -> None:
    import asyncio  # noqa: PLC0415

    import uvloop  # noqa: PLC0415

    from authsvc.cli.heaps import share_heaps  # noqa: PLC0415

    share_heaps()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(main)
    if code:
        raise SystemExit(code)
