"""The page of settings: from the fields of ``Settings`` and what stands under each."""

from __future__ import annotations

import ast
import inspect
import itertools
import types
import typing
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from authsvc.server.settings import FOR_COMMANDS, FROM_FILE, PREFIX, Settings
from handbook.tables import literal, plain, table

__all__ = ["meanings", "page"]

_HEAD = """# Settings

Environment variables of the service. `AUTHSVC_PORT=8081` sets the port; an empty variable is the
same as none, and one that begins with `AUTHSVC_` and is no setting is named in a warning at the
start. Options of a command go before the environment. Lists are separated by commas. [Running
authsvc](../running.md#settings) says how they play together.

"""

_SECRETS = """
## Secrets from files

Each of these also comes from a file, whose path is in the variable with `_FILE` at its end. Both
at once are refused.

"""

_COMMANDS = """
## Variables of commands

Commands that call a service read these; the service itself does not.

"""

_DERIVED = {
    "data_dir": "`~/.local/share/authsvc`",
    "database_url": "`authsvc.db` in the data directory",
    "public_url": "`http://HOST:PORT`",
    "nats_internal_urls": "`NATS_URLS`",
}
_COMMAND_MEANINGS = {
    "url": "Where the service is; before `context.json`.",
    "api_key": "The API key to ask it with.",
    "api_key_file": "A file that holds the API key.",
    "backup_passphrase": "What `authsvc backup` and `restore` seal and open archives with.",
    "backup_passphrase_file": "A file that holds it.",
    "token": "An identity token, for the commands of `authsvc rpc`.",
    "token_file": "A file that holds it.",
    "otp_code": "The code of SyftBox's e-mail, for `authsvc login` where nobody is asked.",
    "context": "Which login of `authsvc login` is meant.",
}
_KINDS = {str: "text", int: "whole number", bool: "`true` or `false`", float: "number"}


def meanings() -> dict[str, str]:
    """What stands under each field of ``Settings``."""
    tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(Settings)))
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef))
    found = {}
    for field, text in itertools.pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            found[field.target.id] = plain(str(text.value.value))
    return found


def page() -> str:
    """The page."""
    said = meanings()
    rows = []
    for name, field in Settings.model_fields.items():
        if name not in said:
            raise LookupError(f"settings.py: {name} lacks a sentence under it that says what it is")
        default = _DERIVED.get(name) or literal(_default(field))
        rows.append([f"`{PREFIX}{name.upper()}`", _kind(field), default, said[name]])
    secrets = [[f"`{PREFIX}{name.upper()}_FILE`"] for name in FROM_FILE]
    if missing := set(FOR_COMMANDS) - set(_COMMAND_MEANINGS):
        raise LookupError(f"handbook/settings.py: _COMMAND_MEANINGS lacks {', '.join(missing)}")
    commands = [[f"`{PREFIX}{name.upper()}`", _COMMAND_MEANINGS[name]] for name in FOR_COMMANDS]
    return (
        _HEAD
        + table(["variable", "takes", "default", ""], rows)
        + _SECRETS
        + table(["variable"], secrets)
        + _COMMANDS
        + table(["variable", ""], commands)
    )


def _default(field: FieldInfo) -> object:
    value = field.default
    if value is PydanticUndefined:
        return None
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _kind(field: FieldInfo) -> str:
    kinds = _plain_kinds(field.annotation)
    bounds = {
        sign: value
        for data in field.metadata
        for sign in ("ge", "gt", "le", "lt")
        if (value := getattr(data, sign, None)) is not None
    }
    low, high = bounds.get("ge"), bounds.get("le")
    if low is not None and high is not None:
        return f"{kinds}, {low} to {high}"
    return f"{kinds}, {low} or more" if low is not None else kinds


def _plain_kinds(hint: Any) -> str:
    """A type as people say it."""
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(hint))
    if origin in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        return " or ".join(map(_plain_kinds, kinds))
    if origin is typing.Annotated:
        return _plain_kinds(typing.get_args(hint)[0])
    if origin is list:
        return "list"
    if getattr(hint, "__name__", "") == "SecretStr":
        return "secret"
    return "path" if getattr(hint, "__name__", "") == "Path" else _KINDS.get(hint, "text")
