"""``authsvc rpc call``: one request, one response."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from authsvc.cli.rpc_answer import Output, OutputOption, show
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
from authsvc.cli.rpc_target import Target, body, headers
from authsvc.errors import InvalidInput

if TYPE_CHECKING:
    from authsvc.rpc import Response

__all__ = ["call"]


class Stored(NamedTuple):
    """What ``--submit`` means."""

    expires: str
    wait: bool


def call(
    target: Annotated[
        str, typer.Argument(help="bob@example.com/pingpong, or a syft:// URL.", show_default=False)
    ],
    path: Annotated[str, typer.Argument(help="Path and query, such as /ping.")] = "",
    *,
    method: Annotated[str, typer.Option("-X", "--method", help="The method.")] = "POST",
    json_body: Annotated[
        str | None,
        typer.Option("--json", help="A JSON body; @file, or - for standard input."),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="Any body; @file, or - for standard input.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option("-H", "--header", help="'name: value'; again for each.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.001, help="Seconds to wait for the response.")
    ] = 30.0,
    submit: Annotated[
        bool, typer.Option("--submit", help="Store it: the responder may be away.")
    ] = False,
    expires: Annotated[
        str, typer.Option(help="With --submit: how long it may be handled, such as 15m or 7d.")
    ] = "15m",
    wait: Annotated[
        bool,
        typer.Option(help="With --submit: wait for the answer; else only print the id of it."),
    ] = True,
    output: OutputOption = Output.BODY,
    url: Url = None,
    token_file: TokenFile = None,
    login_method: Method = None,
    key: Key = None,
    creds: Creds = None,
    server: Servers = None,
    context: ContextName = None,
) -> None:
    """Call an app and print what it answers; exits with 1 from status 400 on.

    403 exits with 3; 503, nobody there and no answer in time with 4. With --submit it first prints
    the id of the answer to standard error, which `authsvc rpc result` finds it by.

    Example: authsvc rpc call bob@example.com/pingpong /ping --json '{"n": 1}'
    """
    found = Target.parse(target)
    if found.path is not None and path:
        raise typer.BadParameter("the URL names the path already")
    content, more = body(json_body, data)
    request: dict[str, Any] = {
        "method": method,
        "content": content,
        "headers": more + headers(header),
    }
    if (expires != "15m" or not wait) and not submit:
        raise typer.BadParameter("--expires and --no-wait go with --submit")
    stored = Stored(expires, wait) if submit else None
    identity = Identity(url, token_file, login_method, key, creds, server, context=context)
    from authsvc.rpc import run  # noqa: PLC0415 - slow to import

    response = run(_called(identity, found, path or found.path or "/", request, timeout, stored))
    if response is not None:
        show(response, output)


async def _called(  # noqa: PLR0917
    identity: Identity,
    target: Target,
    path: str,
    request: dict[str, Any],
    timeout: float,
    stored: Stored | None,
) -> Response | None:
    from authsvc.rpc import AsyncClient  # noqa: PLC0415

    async with AsyncClient(name="authsvc rpc call", **identity.arguments()) as client:
        peer = client.peer(target.user, target.app)
        try:
            if stored is None:
                return await peer.call(path, **request, timeout=timeout)
            future = await peer.submit(path, **request, expires=stored.expires, timeout=timeout)
        except InvalidInput as error:
            raise typer.BadParameter(str(error)) from None
        print(future.id, file=sys.stderr if stored.wait else sys.stdout, flush=True)
        return await future.result(timeout) if stored.wait else None
