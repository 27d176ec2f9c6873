"""The reference of all commands, as it stands in docs/cli.md below its mark.

python -m authsvc.cli.reference docs/cli.md
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer.main

from authsvc.cli.commands import app

__all__ = ["MARK", "commands", "reference", "written"]

MARK = "<!-- Below: python -m authsvc.cli.reference docs/cli.md -->\n"
_EXAMPLE = "Example: "
_KINDS = {int: "N", float: "N", Path: "PATH"}


def commands(command: Any = None, path: str = "authsvc") -> Iterator[tuple[str, Any]]:
    """Every command by its whole name, groups left out."""
    command = command or typer.main.get_command(app)
    children = getattr(command, "commands", {})
    for name in sorted(children, key=lambda it: (bool(_children(children[it])), it)):
        yield from commands(children[name], f"{path} {name}")
    if not children:
        yield path, command


def reference() -> str:
    """Markdown: a section for each group, a part for each command."""
    lines: list[str] = []
    group = None
    for name, command in commands():
        words = name.split()
        if len(words) > 2 and words[1] != group:  # noqa: PLR2004 - authsvc, group, command
            group = words[1]
            lines += [f"## {group}", ""]
        elif group is None:
            group = ""
            lines += ["## One word", ""]
        lines += _part(name, command)
    return "\n".join(lines).rstrip() + "\n"


def written(text: str) -> str:
    """A page with the reference in it.

    Args:
        text: The page; what stands above the mark stays.
    """
    return text.partition(MARK)[0] + MARK + "\n" + reference()


def _children(command: Any) -> dict[str, Any]:
    found: dict[str, Any] = getattr(command, "commands", {})
    return found


def _part(name: str, command: Any) -> list[str]:
    told, examples = _told(command)
    arguments = [it for it in command.params if it.param_type_name == "argument"]
    options = [it for it in command.params if it.param_type_name == "option" and not it.hidden]
    usage = " ".join([name, *map(_usage, arguments), *(["[OPTIONS]"] if options else [])])
    lines = [f"### {name}", "", told, "", "```sh", *(examples or [usage]), "```", ""]
    lines += [f"`{usage}`", "", "| | |", "|---|---|"]
    lines += [f"| `{_usage(it)}` | {_cell(it.help)} |" for it in arguments]
    lines += [f"| {_names(it)} | {_cell(it.help)}{_default(it)} |" for it in options]
    return [*lines, ""]


def _told(command: Any) -> tuple[str, list[str]]:
    """What the help says, and its examples as commands."""
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    kept, examples = [], []
    for paragraph in paragraphs:
        text = " ".join(paragraph.split())
        if text.startswith(_EXAMPLE):
            examples.append(text.removeprefix(_EXAMPLE))
        else:
            kept.append(text)
    return "\n\n".join(kept), examples


def _usage(argument: Any) -> str:
    name = argument.metavar or argument.name.upper().rstrip("_")
    return str(name) if argument.required else f"[{name}]"


def _names(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    return names if option.is_flag else f"{names} `{_kind(option)}`"


def _kind(option: Any) -> str:
    if option.metavar:
        return str(option.metavar)
    kind = option.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "\\|".join(str(it.value) for it in kind)
    return _KINDS.get(kind, "TEXT")


def _default(option: Any) -> str:
    value = option.default
    if option.required:
        return " Needed."
    if callable(value) or value in (None, False, "", (), []) or option.is_flag:
        return ""
    return f" `{getattr(value, 'value', value)}` unless given."


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(written(page.read_text(encoding="utf-8")), encoding="utf-8")
