"""The command line inside this process: what a process of its own would print and exit with."""

from __future__ import annotations

import asyncio
import io
import sys
from unittest import mock

from authsvc.cli import main
from authsvc.cli.commands import app

__all__ = ["authsvc", "piped"]


async def authsvc(*arguments: str, **environ: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error; the event loop here runs on meanwhile."""
    return await asyncio.to_thread(_invoke, arguments, environ, b"")


async def piped(stdin: bytes, *arguments: str, **environ: str) -> tuple[int, str, str]:
    """The same with something on standard input."""
    return await asyncio.to_thread(_invoke, arguments, environ, stdin)


def _invoke(
    arguments: tuple[str, ...], environ: dict[str, str], stdin: bytes
) -> tuple[int, str, str]:
    given = io.TextIOWrapper(io.BytesIO(stdin), "utf-8")
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    code = 0
    with (
        mock.patch.dict("os.environ", environ),
        # It forgets the commands that are not asked for, as one process needs no other.
        mock.patch.multiple(
            app,
            registered_groups=app.registered_groups,
            registered_commands=app.registered_commands,
        ),
        mock.patch.multiple(sys, argv=["authsvc", *arguments], stdin=given, stdout=out, stderr=err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return code, _text(out), _text(err)


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    found: bytes = stream.buffer.getvalue()  # type: ignore[attr-defined]
    return found.decode()
