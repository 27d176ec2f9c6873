"""How an answer is printed, and the exit code that its status means."""

from __future__ import annotations

import base64
import json
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from authsvc.rpc import Response

__all__ = ["Output", "OutputOption", "show"]

_EXIT_FAILED, _EXIT_REFUSED, _EXIT_UNAVAILABLE = 1, 3, 4
_FIRST_ERROR = 400
_EXITS = {401: _EXIT_REFUSED, 403: _EXIT_REFUSED, 503: _EXIT_UNAVAILABLE, 504: _EXIT_UNAVAILABLE}


class Output(StrEnum):
    """What is printed."""

    BODY = "body"
    JSON = "json"


OutputOption = Annotated[
    Output, typer.Option("--output", help="The body as it is, or status, headers and body as JSON.")
]


def show(response: Response, output: Output) -> None:
    """Print an answer.

    Raises:
        Exit: Its status is an error's.
    """
    _print(response, output)
    if response.status >= _FIRST_ERROR:
        print(f"authsvc: the responder answered {response.status}", file=sys.stderr)
        raise typer.Exit(_EXITS.get(response.status, _EXIT_FAILED))


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
