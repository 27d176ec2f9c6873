"""``authsvc status``: whether the service and nats-server are there, and where."""

from __future__ import annotations

import json
import shlex
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from authsvc.cli.context import AsJson, Context, ContextDir, admin_api, find_context
from authsvc.cli.show import print_members
from authsvc.errors import ApiError

if TYPE_CHECKING:
    from authsvc.admin_client import AdminApi

__all__ = ["status"]

_EXIT_UNAVAILABLE = 4


class Form(StrEnum):
    """How the answer is written."""

    TEXT = "text"
    ENV = "env"
    JSON = "json"


def status(
    *,
    data_dir: ContextDir = None,
    form: Annotated[
        Form, typer.Option("--output", "-o", help="text, json, or env: lines for a shell.")
    ] = Form.TEXT,
    show_key: Annotated[
        bool, typer.Option("--show-key", help="With -o env: the URL and API key of commands too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Whether the service is ready, and where it and nats-server are.

    Exit code 4 where it can't be reached or is not ready. `-o env` prints what apps on this
    machine need; nothing in it is secret unless --show-key is given.

    Example: eval "$(authsvc status -o env)"
    """
    context = find_context(data_dir)
    with admin_api(data_dir) as api:
        found = _found(api, context)
    if as_json or form is Form.JSON:
        print(json.dumps(found))
    elif form is Form.ENV:
        _print_env(found, context if show_key else None)
    else:
        print_members(found)
    if not found["ready"]:
        raise typer.Exit(_EXIT_UNAVAILABLE)


def _found(api: AdminApi, context: Context) -> dict[str, Any]:
    told = api.get("/.well-known/authsvc")
    reasons = None
    try:
        api.get("/readyz")
    except ApiError as error:
        reasons = str(error.problem.get("detail"))
    return {
        "ready": reasons is None,
        "reasons": reasons,
        "url": context.url,
        "public_url": told["public_url"],
        "version": told["version"],
        "servers": told["servers"],
        "login_methods": [method["name"] for method in told["login_methods"]],
        "operator": told["operator"],
        "account": told["account"],
    }


def _print_env(found: dict[str, Any], context: Context | None) -> None:
    """The variables that SyftBox's apps and the ``nats`` command read, and ours if asked."""
    values = {"SYFTBOX_AUTHSVC_URL": found["public_url"]}
    if found["servers"]:
        values |= {"SYFTBOX_NATS_URL": found["servers"][0], "NATS_URL": found["servers"][0]}
    if context is not None:
        values |= {"AUTHSVC_URL": context.url, "AUTHSVC_API_KEY": context.api_key}
    for name, value in values.items():
        print(f"export {name}={shlex.quote(value)}")
