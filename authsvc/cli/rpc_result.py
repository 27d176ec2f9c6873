"""``authsvc rpc result``: the answer to a request that was stored before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

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
from authsvc.errors import InvalidInput

if TYPE_CHECKING:
    from authsvc.rpc import Response

__all__ = ["result"]


def result(
    future: Annotated[
        str, typer.Argument(help="The id that `rpc call --submit` printed.", show_default=False)
    ],
    *,
    timeout: Annotated[
        float, typer.Option(min=0.001, help="Seconds to wait for the answer.")
    ] = 30.0,
    output: OutputOption = Output.BODY,
    url: Url = None,
    token_file: TokenFile = None,
    login_method: Method = None,
    key: Key = None,
    creds: Creds = None,
    server: Servers = None,
    context: ContextName = None,
) -> None:
    """Print the answer to a request that was stored, with exit codes as `rpc call` has them.

    Example: authsvc rpc result "$id" --timeout 60
    """
    identity = Identity(url, token_file, login_method, key, creds, server, context=context)
    from authsvc.rpc import run  # noqa: PLC0415 - slow to import

    show(run(_read(identity, future, timeout)), output)


async def _read(identity: Identity, future: str, timeout: float) -> Response:
    from authsvc.rpc import AsyncClient  # noqa: PLC0415

    async with AsyncClient(name="authsvc rpc result", **identity.arguments()) as client:
        try:
            found = client.future(future)
        except InvalidInput as error:
            raise typer.BadParameter(str(error)) from None
        return await found.result(timeout)
