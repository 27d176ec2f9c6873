"""``authsvc rpc call``: one request, one response."""

from __future__ import annotations

import base64
import json
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from authsvc.cli.rpc_credentials import Creds, Identity, Key, Method, Servers, TokenFile, Url
from authsvc.cli.rpc_target import Target, body, headers
from authsvc.errors import InvalidInput

if TYPE_CHECKING:
    from authsvc.rpc import Response

__all__ = ["call"]

_EXIT_FAILED, _EXIT_REFUSED, _EXIT_UNAVAILABLE = 1, 3, 4
_FIRST_ERROR = 400
_EXITS = {401: _EXIT_REFUSED, 403: _EXIT_REFUSED, 503: _EXIT_UNAVAILABLE, 504: _EXIT_UNAVAILABLE}


class Output(StrEnum):
    """What is printed."""

    BODY = "body"
    JSON = "json"


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
    output: Annotated[
        Output, typer.Option(help="The body as it is, or status, headers and body as JSON.")
    ] = Output.BODY,
    url: Url = None,
    token_file: TokenFile = None,
    login_method: Method = None,
    key: Key = None,
    creds: Creds = None,
    server: Servers = None,
) -> None:
    """Call an app and print what it answers; exits with 1 from status 400 on.

    403 exits with 3, 503 and nobody there with 4.

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
        "timeout": timeout,
    }
    identity = Identity(url, token_file, login_method, key, creds, server)
    from authsvc.rpc import run  # noqa: PLC0415 - slow to import

    response = run(_called(identity, found, path or found.path or "/", request))
    _print(response, output)
    if response.status >= _FIRST_ERROR:
        print(f"authsvc: the responder answered {response.status}", file=sys.stderr)
        raise typer.Exit(_EXITS.get(response.status, _EXIT_FAILED))


async def _called(
    identity: Identity, target: Target, path: str, request: dict[str, Any]
) -> Response:
    from authsvc.rpc import AsyncClient  # noqa: PLC0415

    async with AsyncClient(name="authsvc rpc call", **identity.arguments()) as client:
        try:
            return await client.peer(target.user, target.app).call(path, **request)
        except InvalidInput as error:
            raise typer.BadParameter(str(error)) from None


def _print(response: Response, output: Output) -> None:
    if output is Output.JSON:
        found = {"status": response.status, "headers": list(response.pairs)}
        print(json.dumps(found | _content(response)))
    elif sys.stdout.isatty():
        # What somebody else wrote must not command the terminal.
        kept = "".join(char if _harmless(char) else "\ufffd" for char in response.text)
        print(kept, end="" if kept.endswith("\n") else "\n")
    else:
        sys.stdout.buffer.write(response.content)
        sys.stdout.buffer.flush()


def _content(response: Response) -> dict[str, Any]:
    try:
        return {"json": response.json()}
    except ValueError:
        pass
    try:
        return {"text": response.content.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(response.content).decode("ascii")}


def _harmless(char: str) -> bool:
    return char.isprintable() or char in "\n\t"
