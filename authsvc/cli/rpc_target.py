"""Whose app is meant, and what is sent there."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NamedTuple

import typer

from authsvc.errors import InvalidInput
from authsvc.subjects import app_name, username

__all__ = ["Target", "body", "headers"]

_JSON = ("content-type", "application/json")


class Target(NamedTuple):
    """A user's app, and the path that stands in its URL, if one does."""

    user: str
    app: str
    path: str | None = None

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read ``bob@example.com/pingpong`` or ``syft://bob@example.com/app_data/pingpong``.

        Raises:
            BadParameter: It is neither.
        """
        from authsvc.rpc.syftbox import SyftUrl  # noqa: PLC0415 - httpx is slow to import

        try:
            if text.startswith("syft://"):
                url = SyftUrl.parse(text)
                return cls(url.username, url.app, None if url.target == "/" else url.target)
            user, slash, app = text.rpartition("/")
            if not slash:
                raise typer.BadParameter(
                    f"which app of {text}? bob@example.com/pingpong, or "
                    "syft://bob@example.com/app_data/pingpong"
                )
            return cls(username(user), app_name(app))
        except InvalidInput as error:
            raise typer.BadParameter(str(error)) from None


def body(as_json: str | None, data: str | None) -> tuple[bytes | None, list[tuple[str, str]]]:
    """The body that was given, and the headers that it brings.

    Args:
        as_json: JSON text, ``@file``, or ``-`` for standard input.
        data: The same for a body of any kind.

    Raises:
        BadParameter: Both are given, the JSON is none, or the file can't be read.
    """
    if as_json is not None and data is not None:
        raise typer.BadParameter("--json or --data, not both")
    if as_json is None:
        return (None if data is None else _content(data)), []
    content = _content(as_json)
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        raise typer.BadParameter("--json: that is no JSON") from None
    return content, [_JSON]


def headers(given: list[str] | None) -> list[tuple[str, str]]:
    """Headers from ``name: value`` texts.

    Raises:
        BadParameter: One has no colon.
    """
    found = []
    for text in given or ():
        name, colon, value = text.partition(":")
        if not colon:
            raise typer.BadParameter(f"{text!r} is no header, such as 'x-trace: 7'")
        found.append((name.strip(), value.strip()))
    return found


def _content(text: str) -> bytes:
    if text in {"-", "@-"}:
        return sys.stdin.buffer.read()
    if not text.startswith("@"):
        return text.encode()
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{text[1:]} can't be read: {error.strerror}") from None
