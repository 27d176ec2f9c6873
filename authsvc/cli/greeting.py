"""What ``authsvc up`` says when all is ready: where everything is, and what to do next."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import func, select
from sqlmodel import col

from authsvc.cli.program import called, data_dir_option
from authsvc.server.database import Database
from authsvc.server.models import Operator, User

__all__ = ["Greeting", "Holdings", "holdings", "next_commands", "text"]

_WIDTH = 11
_MACHINES = {"enrolment"}
"""Login methods by which no person can log in."""


class Holdings(NamedTuple):
    """What the database holds.

    Args:
        users: How many.
        operator: Its public key.
        since: When it was made, in seconds since the epoch.
    """

    users: int
    operator: str
    since: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """What is known when all is ready.

    Args:
        url: Of the API.
        nats_urls: Of nats-server.
        data_dir: Where everything lies.
        log_dir: Where the logs are.
        methods: The names of the login methods.
        dev_login: Whether anybody can be anybody.
        first: Whether everything was made just now.
        held: What the database holds.
        console: The link into the console, which works once.
        advise: Whether to name the next commands.
    """

    url: str
    nats_urls: list[str]
    data_dir: Path
    log_dir: Path
    methods: list[str]
    dev_login: bool
    first: bool
    held: Holdings
    console: str | None = None
    advise: bool = True


async def holdings(database: Database) -> Holdings:
    """Count what there is."""
    async with database.reading() as session:
        users = await session.scalar(select(func.count()).select_from(User))
        row = (
            await session.execute(select(col(Operator.public_key), col(Operator.created_at)))
        ).one()
    return Holdings(users or 0, row.public_key, row.created_at)


def text(greeting: Greeting) -> str:
    """The whole greeting."""
    lines = [_what_is_there(greeting)]
    if not greeting.first:
        lines.append(_row("found", _found(greeting.held)))
    lines.append(_row("API", f"{greeting.url}   (docs: {greeting.url}/docs)"))
    if greeting.console:
        lines.append(_row("console", f"{greeting.console}   (works once, for 30 minutes)"))
    lines += [
        _row("NATS", "  ".join(greeting.nats_urls)),
        _row("data", str(greeting.data_dir)),
        _row("logs", str(greeting.log_dir)),
        _row("login by", ", ".join(greeting.methods) or "none yet"),
    ]
    if greeting.dev_login:
        lines.append(_row("WARNING", "dev login is on: anybody on this machine can be anybody"))
    if greeting.advise:
        commands = next_commands(greeting)
        width = max(len(command) for command, _ in commands)
        titles = ["next", *[""] * len(commands)]
        for title, (command, why) in zip(titles, commands, strict=False):
            lines.append(_row(title, f"{command:{width}}   # {why}"))
    return "\n".join(lines)


def next_commands(greeting: Greeting) -> list[tuple[str, str]]:
    """Three commands that are right for this state, and what each is for."""
    here, run = data_dir_option(greeting.data_dir), called()
    create = (f"{run} user create weather-bot --service{here}", "a user that is a program")
    syftbox = f"AUTHSVC_SYFTBOX_URL=https://syftbox.net {run} up{here}"
    people = (syftbox, "stop this first; then people can log in")
    if not set(greeting.methods) - _MACHINES:
        if greeting.held.users:
            return [
                people,
                (f"{run} user list{here}", "who there is"),
                (f"{run} doctor{here}", "is all well?"),
            ]
        return [
            people,
            (f"{run} up --dev-login{here}", "or so, to try it: by e-mail alone"),
            create,
        ]
    if greeting.held.users:
        return [
            (f"{run} user list{here}", "who there is"),
            (f"{run} audit list{here}", "what was done"),
            (f"{run} doctor{here}", "is all well?"),
        ]
    email = " --login-method dev --email alice@example.com" if greeting.dev_login else ""
    if not email and "syftbox" not in greeting.methods and "device" in greeting.methods:
        return [(f"{run} login --device{here}", "log in, in a browser"), *_then(run), create]
    return [
        (f"{run} login{email}{here}", "log in, here as anybody" if email else "log in"),
        *_then(run),
        create,
    ]


def _then(run: str) -> list[tuple[str, str]]:
    return [(f"{run} rpc ping --matrix", "then: do calls arrive?")]


def _what_is_there(greeting: Greeting) -> str:
    if greeting.first:
        return "authsvc made its operator, accounts and keys"
    return "authsvc found its data"


def _found(held: Holdings) -> str:
    users = f"{held.users} user{'' if held.users == 1 else 's'}"
    since = time.strftime("%Y-%m-%d", time.gmtime(held.since))
    return f"{users}, operator {held.operator}, since {since}"


def _row(title: str, said: str) -> str:
    return f"  {title:{_WIDTH}}{said}"
