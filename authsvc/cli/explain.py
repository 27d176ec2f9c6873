"""``authsvc explain``: whether a user may, and by which rule."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from authsvc.cli.context import AsJson, ContextDir, admin_api
from authsvc.cli.show import visible

__all__ = ["explain"]


class Action(StrEnum):
    """What a user does with a subject."""

    PUBLISH = "publish"
    SUBSCRIBE = "subscribe"


def explain(
    user: Annotated[str, typer.Argument(help="A username, or a user's id.")],
    action: Annotated[Action, typer.Argument(help="publish or subscribe.")],
    subject: Annotated[str, typer.Argument(help="The subject; quote * and >.")],
    *,
    data_dir: ContextDir = None,
    app_name: Annotated[
        str | None, typer.Option("--app", help="By a credential narrowed to this app.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Whether a user may publish or subscribe, and by which rule, as nats-server would decide.

    Exit code 0: yes; 1: no. It tells what the user's next JWT says.

    Example: authsvc explain alice@example.com publish requests.alice@example%2Ecom.bob.chat
    """
    body = {"username": user, "action": action.value, "subject": subject}
    with admin_api(data_dir) as api:
        found = api.post("/v1/admin/explain", body | ({"app": app_name} if app_name else {}))
    if as_json:
        print(json.dumps(found))
    else:
        _print(found)
    if not found["allowed"]:
        raise typer.Exit(1)


def _print(found: dict[str, Any]) -> None:
    said = f"{found['username']} may {{}}{found['action']} {found['subject']}"
    if found["allowed"]:
        source = found["source"]
        by_role = f" of the role {source['role']}" if source["role"] else ""
        rule = "everybody's own list" if source["kind"] == "default" else f"grant {source['id']}"
        print(visible(f"{said.format('')}: {found['rule']}, from {rule}{by_role}"))
        return
    print(visible(said.format("not ")))
    if found["disabled"]:
        print("the user is disabled")
    needed = found["needed"]
    if needed:
        print(f"a grant would allow it: {visible(json.dumps(needed['grant']))}")
    if needed and needed["reaches"]:
        print(f"it is dangerous: it reaches {visible(', '.join(needed['reaches']))}")
