"""The passphrase of a backup, and the keys of age's: by file, environment or terminal.

Never by an argument: every process on the machine can read those of others.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from authsvc.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from authsvc.server.backup import Identity, Passphrase, Recipient

__all__ = ["PassphraseFile", "read_identities", "read_passphrase", "read_recipients"]

_VARIABLE = "AUTHSVC_BACKUP_PASSPHRASE"
_SHORT = 12

PassphraseFile = Annotated[
    Path | None, typer.Option(help=f"A file with the passphrase; else {_VARIABLE}(_FILE), or ask.")
]


def read_passphrase(path: Path | None, *, new: bool) -> Passphrase:
    """The passphrase.

    Args:
        path: Of the file that has it, if one was named.
        new: Whether it is for a new backup: typed twice, and warned of when it is short.

    Raises:
        InvalidInput: There is none, or it can't be read.
        typer.BadParameter: There is none, and nobody can be asked.
    """
    from authsvc.server.backup import Passphrase  # noqa: PLC0415

    text = _find(path, new=new)
    if not text:
        raise InvalidInput("the passphrase is empty")
    if new and len(text) < _SHORT:
        print(
            f"authsvc: warning: a passphrase of {len(text)} characters can be guessed by who has "
            "the file; take a long one, such as `openssl rand -base64 24` makes",
            file=sys.stderr,
        )
    return Passphrase(text)


def _find(path: Path | None, *, new: bool) -> str:
    text, named = os.environ.get(_VARIABLE), os.environ.get(f"{_VARIABLE}_FILE")
    if path is None and text and named:
        raise InvalidInput(f"{_VARIABLE} and {_VARIABLE}_FILE are both set: remove one of them")
    if path is not None or named:
        return _read(path or Path(str(named))).rstrip("\r\n")
    if text:
        return text
    if not sys.stdin.isatty():
        raise typer.BadParameter(
            f"a passphrase is needed: --passphrase-file, {_VARIABLE} or {_VARIABLE}_FILE"
        )
    return str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=new, err=True))


def read_recipients(texts: Sequence[str], path: Path | None) -> list[Recipient]:
    """The public keys, ``age1...``, that were given and that stand in a file, one a line.

    Raises:
        InvalidInput: One is none, or the file can't be read or has none.
    """
    from authsvc.server.backup import Recipient  # noqa: PLC0415

    found = [*texts, *(_lines(path) if path else ())]
    if path is not None and len(found) == len(texts):
        raise InvalidInput(f"{path} has no line that begins with age1")
    return [Recipient.from_text(text) for text in found]


def read_identities(path: Path) -> list[Identity]:
    """The private keys, ``AGE-SECRET-KEY-1...``, in a file, one a line.

    Raises:
        InvalidInput: One is none, or the file can't be read or has none.
    """
    from authsvc.server.backup import Identity  # noqa: PLC0415

    found = [Identity.from_text(text) for text in _lines(path)]
    if not found:
        raise InvalidInput(f"{path} has no line that begins with AGE-SECRET-KEY-1")
    return found


def _lines(path: Path) -> list[str]:
    lines = [line.strip() for line in _read(path).splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidInput(f"{path} can't be read: {why}") from None
