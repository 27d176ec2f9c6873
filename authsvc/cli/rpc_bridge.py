"""``authsvc rpc bridge``: an HTTP app in any language, on NATS."""

from __future__ import annotations

from typing import Annotated

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

__all__ = ["bridge"]


def bridge(
    *,
    app_name: Annotated[
        str, typer.Option("--app-name", help="The app's name.", show_default=False)
    ],
    target: Annotated[
        str,
        typer.Option(
            help="The HTTP server that answers, such as http://127.0.0.1:9000.",
            show_default=False,
        ),
    ],
    allow: Annotated[
        list[str] | None,
        typer.Option(
            help="What may be called, such as 'GET /items/*' or '/public/**'; again for each. "
            "Everything unless given."
        ),
    ] = None,
    deny: Annotated[
        list[str] | None,
        typer.Option(help="What may not be called, though allowed; again for each."),
    ] = None,
    allow_user: Annotated[
        list[str] | None,
        typer.Option(help="Who may call; again for each. Everybody unless given."),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 64,
    timeout: Annotated[
        float, typer.Option(min=0.001, help="Seconds that the server has to begin its answer.")
    ] = 60.0,
    openapi: Annotated[
        str | None,
        typer.Option(
            help="The path of the server's OpenAPI document, such as /openapi.json, from which "
            "the app describes itself."
        ),
    ] = None,
    url: Url = None,
    token_file: TokenFile = None,
    login_method: Method = None,
    key: Key = None,
    creds: Creds = None,
    server: Servers = None,
    context: ContextName = None,
) -> None:
    """Put an HTTP server on NATS until SIGINT or SIGTERM; prints a line that begins with `ready `.

    The server sees who calls in the header x-syft-user, which nobody can forge as long as only
    this machine reaches the server.

    Example: authsvc rpc bridge --app-name notes --target http://127.0.0.1:9000 --deny '/admin/**'
    """
    from authsvc.rpc.http import BridgeService  # noqa: PLC0415 - slow to import

    try:
        service = BridgeService(
            app_name,
            target,
            allow=allow_user,
            paths=allow or (),
            denied=deny or (),
            concurrency=concurrency,
            timeout=timeout,
            openapi=openapi,
        )
    except InvalidInput as error:
        raise typer.BadParameter(str(error)) from None
    arguments = Identity(
        url, token_file, login_method, key, creds, server, context=context
    ).arguments()
    service.run(
        on_ready=lambda: print(f"ready {service.name}", flush=True),
        name=f"authsvc rpc bridge {service.name}",
        **arguments,
    )
