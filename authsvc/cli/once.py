"""What is shown once: into a file that nobody else reads, or to standard output."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["Output", "place_for", "print_key"]

Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "--out", help="A new file for the secret, mode 0600; standard output if none."
    ),
]


@contextmanager
def place_for(output: Path | None) -> Iterator[Callable[[str], None]]:
    """Where a secret goes; made before the secret is, so that none is lost for want of it.

    Args:
        output: A file that must not be there yet; standard output if None. It goes again when
            nothing was written into it.

    Raises:
        OSError: The file can't be made.
    """
    if output is None:
        yield _print
        return
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    written = False

    def write(text: str) -> None:
        nonlocal written
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
        written = True

    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            yield write
    finally:
        if not written:
            output.unlink(missing_ok=True)


def print_key(made: dict[str, Any], output: Path | None, *, as_json: bool) -> None:
    """Say which key was made; its text only where no file has it.

    Args:
        made: The API's answer.
        output: Where its text was written, if anywhere.
        as_json: The whole answer, instead of a line for people.
    """
    if as_json:
        kept = {it: value for it, value in made.items() if output is None or it != "key"}
        print(json.dumps(kept | ({"output": str(output)} if output else {})))
    else:
        told = f"{made['id']} begins with {made['prefix']}"
        print(f"{told}; it is in {output}" if output else told, file=sys.stderr)


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
