"""The format of nats-server's configuration files. Pure.

    render({"listen": "127.0.0.1:4222", "jetstream": {"strict": True}})

Source: nats-server, ``conf/lex.go``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from authsvc.errors import StartRefused

__all__ = ["Value", "render"]

Value = str | int | bool | Sequence["Value"] | Mapping[str, "Value"]
"""What an option may be given."""

_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_PUBLIC_KEY = re.compile(r"[A-Z2-7]{56}\Z")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def render(options: Mapping[str, Value], indent: str = "") -> str:
    """Options as nats-server reads them, one a line, nested ones in braces.

    Raises:
        StartRefused: A key or a text that the format can't carry.
    """
    lines = []
    for key, value in options.items():
        if not (_KEY.match(key) or _PUBLIC_KEY.match(key)):
            raise StartRefused(f"{key!r} is no name of an option.")
        if isinstance(value, Mapping):
            lines.append(f"{indent}{key} {{\n{render(value, indent + '  ')}{indent}}}\n")
        else:
            lines.append(f"{indent}{key}: {_value(value)}\n")
    return "".join(lines)


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Mapping):
        raise StartRefused("An option holds a list of sections, which is not written here.")
    return "[" + ", ".join(_value(item) for item in value) + "]"


def _quoted(text: str) -> str:
    if "\x00" in text:
        raise StartRefused(f"{text!r} holds a null character, which no option can carry.")
    return '"' + "".join(_ESCAPES.get(char) or _printable(char) for char in text) + '"'


def _printable(char: str) -> str:
    return f"\\x{ord(char):02X}" if char < " " or char == "\x7f" else char
