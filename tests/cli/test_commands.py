"""What holds for every command, and completion in the shells."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from authsvc.cli.commands import app
from tests.cli.invoking import authsvc

READING = {
    "api-key list", "app dead-letters", "app list", "audit export", "audit list", "audit verify",
    "backup", "bench mint", "bench rpc", "completion", "console", "context list",
    "credential list", "db check", "db version", "device show", "doctor", "enrolment-key list",
    "explain", "grant list", "key list", "nats config", "nats status",
    "rpc bridge", "rpc call", "rpc ping", "rpc result", "rpc serve", "serve", "status", "top", "up",
    "user list", "user show", "whoami",
}  # fmt: skip
"""They change nothing of authsvc's, or are not over before somebody ends them."""

CHANGING = {
    "api-key create", "api-key revoke", "app register", "app remove", "app requeue",
    "credential issue", "credential revoke", "db upgrade", "device approve", "device deny",
    "enrolment-key create", "enrolment-key revoke", "grant create", "grant delete",
    "key export", "key import", "key remove", "key retire", "key rotate", "key rotate-master",
    "logout", "nats adopt", "nats push", "restore", "user change", "user create", "user delete",
    "user disable", "user enable", "user import",
}  # fmt: skip

OWN = {"login", "context use"}
"""They change what is kept on this machine, and are undone by another one of them."""

CUTTING = {
    "api-key revoke", "app remove", "credential revoke", "enrolment-key revoke", "grant delete",
    "key remove",
    "key retire", "key rotate", "key rotate-master", "user change", "user delete", "user disable",
}  # fmt: skip

NO_JSON = {
    "audit export",  # a JSON object a line
    "completion",  # a shell's script
    "nats config",  # nats-server's configuration
    "rpc bridge", "rpc serve", "serve", "up",  # they go on; `ready ...` is what programs read
    "rpc call", "rpc result",  # --json is a body there; --output json
}  # fmt: skip


def leaves(command: Any, path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, child in getattr(command, "commands", {}).items():
        here = f"{path} {name}".strip()
        found |= leaves(child, here) or {here: child}
    return found


EVERY = leaves(typer.main.get_command(app))


def options(name: str) -> set[str]:
    return {option for it in EVERY[name].params for option in it.opts}


def test_every_command_is_of_one_kind() -> None:
    assert EVERY.keys() == READING | CHANGING | OWN
    assert not READING & CHANGING
    for name in EVERY:
        assert ("--json" in options(name)) == (name not in NO_JSON or "rpc call" in name), name
        assert ("--dry-run" in options(name)) == (name in CHANGING), name
        assert "--yes" in options(name) or name not in CUTTING, name


async def test_help_of_every_command_has_an_example() -> None:
    for name in EVERY:
        code, out, err = await authsvc(*name.split(), "--help", TERM="dumb", COLUMNS="200")
        assert (code, err) == (0, ""), name
        text = re.sub(r"\s+", " ", out)
        assert "Example: " in text, name
        assert re.search(rf"Example: .*authsvc {re.escape(name.split()[0])}", text), name
        for parameter in EVERY[name].params:
            assert getattr(parameter, "help", None) or parameter.name == "help", (name, parameter)


async def test_no_colour_where_none_is_wanted() -> None:
    for environ in ({"NO_COLOR": "1"}, {"NO_COLOR": "1", "TERM": "xterm-256color"}):
        for arguments in (["--help"], ["user", "list", "--help"], ["user", "nothing"]):
            _, out, err = await authsvc(*arguments, **environ)
            assert "\x1b[3" not in out + err


COMPLETE = """
source <(authsvc completion bash)
complete -p authsvc
complete_words() {
  COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
  COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
  _authsvc_completion authsvc "${@: -1}" "${@: -2:1}"
  echo "${COMPREPLY[*]}"
}
complete_words authsvc us
complete_words authsvc user li
complete_words authsvc user list --sta
complete_words authsvc user list --state ""
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """In which ``authsvc`` is this very program."""
    program = tmp_path / "bin" / "authsvc"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom authsvc.cli import main\nmain()\n")
    program.chmod(0o755)
    root = str(Path(__file__).parents[2])
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": root}


def test_bash_completes(environ: dict[str, str]) -> None:
    ran = subprocess.run(
        ["bash", "--norc", "-c", COMPLETE],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    lines = ran.stdout.splitlines()
    assert ran.stderr == ""
    assert lines[0] == "complete -o default -F _authsvc_completion authsvc"
    assert lines[1:] == ["user", "list", "--state", "active disabled"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_zsh_and_fish_are_answered(environ: dict[str, str], shell: str) -> None:
    """The scripts call the program so."""
    script = subprocess.run(
        ["authsvc", "completion", shell], env=environ, capture_output=True, text=True, check=True
    ).stdout
    assert f"_AUTHSVC_COMPLETE=complete_{shell}" in script
    asked = {
        "_AUTHSVC_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": "authsvc user li",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    answer = subprocess.run(
        ["authsvc"], env={**environ, **asked}, capture_output=True, text=True, check=False
    )
    assert "list" in answer.stdout
    assert "disable" not in answer.stdout


async def test_a_shell_that_is_none(environ: dict[str, str]) -> None:
    assert (await authsvc("completion", "tcsh"))[0] == 2
