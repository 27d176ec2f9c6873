"""``authsvc completion``: what a shell needs to complete commands and options."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from authsvc.errors import InvalidInput

__all__ = ["completion"]

_PROGRAM = "authsvc"


class Shell(StrEnum):
    """The shells that can be completed in."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(
    shell: Annotated[Shell, typer.Argument(help="Which shell's.", show_default=False)],
) -> None:
    """Print the completion script of a shell.

    bash: into ~/.bashrc the line `source <(authsvc completion bash)`.
    zsh: `authsvc completion zsh > "${fpath[1]}/_authsvc"`, or the same line in ~/.zshrc after
    compinit. fish: `authsvc completion fish > ~/.config/fish/completions/authsvc.fish`.

    Example: source <(authsvc completion bash)
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # noqa: PLC0415

    name = Path(sys.argv[0]).name
    if name not in {_PROGRAM, "__main__.py"}:
        raise InvalidInput(f"completion works under the name {_PROGRAM}, not {name}")
    print(
        get_completion_script(
            prog_name=_PROGRAM, complete_var=f"_{_PROGRAM.upper()}_COMPLETE", shell=shell.value
        )
    )
