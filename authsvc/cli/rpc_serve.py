"""``authsvc rpc serve``: an app from a command or from a module."""

from __future__ import annotations

import importlib
import shlex
import sys
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
from authsvc.errors import InvalidInput

if TYPE_CHECKING:
    from authsvc.rpc import Service

__all__ = ["serve"]


def serve(
    name: Annotated[
        str,
        typer.Argument(
            help="The app's name, with --exec; else module:service, a Service in a module.",
            show_default=False,
        ),
    ],
    *,
    command: Annotated[
        str | None,
        typer.Option(
            "--exec",
            help="Run for each request: the body is its standard input, what it prints the "
            "answer. No shell is started.",
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="With --exec: who may call; again for each. Everybody unless given."),
    ] = None,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="With --exec: requests wait for it while it is away."),
    ] = False,
    concurrency: Annotated[
        int, typer.Option(min=1, help="With --exec: how many run at a time.")
    ] = 8,
    url: Url = None,
    token_file: TokenFile = None,
    login_method: Method = None,
    key: Key = None,
    creds: Creds = None,
    server: Servers = None,
    context: ContextName = None,
) -> None:
    """Answer requests until SIGINT or SIGTERM; prints a line that begins with `ready `.

    The command finds AUTHSVC_REQUESTER, AUTHSVC_APP, AUTHSVC_METHOD, AUTHSVC_TARGET and
    AUTHSVC_REQUEST_ID in its environment; but for 0, its exit code means an answer of 500.

    Example: authsvc rpc serve wc --exec 'wc -c'
    """
    service = _service(name, command, allow, offline=offline, concurrency=concurrency)
    arguments = Identity(
        url, token_file, login_method, key, creds, server, context=context
    ).arguments()
    service.run(
        on_ready=lambda: print(f"ready {service.name}", flush=True),
        name=f"authsvc rpc serve {service.name}",
        **arguments,
    )


def _service(
    name: str, command: str | None, allow: list[str] | None, *, offline: bool, concurrency: int
) -> Service:
    if command is not None:
        from authsvc.cli.rpc_exec import CommandService  # noqa: PLC0415

        try:
            words = shlex.split(command)
            if not words:
                raise typer.BadParameter("--exec names no command")
            return CommandService(
                name, words, allow=allow, offline=offline, concurrency=concurrency
            )
        except InvalidInput as error:
            raise typer.BadParameter(str(error)) from None
        except ValueError as error:
            raise typer.BadParameter(f"--exec: {error}") from None
    if allow or offline:
        raise typer.BadParameter("--allow and --offline go with --exec; a Service says that itself")
    module, colon, attribute = name.partition(":")
    if not colon:
        raise typer.BadParameter("--exec is missing; or name a Service: module:service")
    return _loaded(module, attribute)


def _loaded(module: str, attribute: str) -> Service:
    from authsvc.rpc import Service  # noqa: PLC0415 - slow to import

    sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module + ".").startswith(error.name + "."):
            raise typer.BadParameter(f"there is no module {module} here") from None
        raise
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, Service):
        raise typer.BadParameter(f"{module}:{attribute} is no authsvc.rpc.Service")
    return found
