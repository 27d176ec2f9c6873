"""``authsvc audit``: read it and export it through the API, verify it in the database itself."""

from __future__ import annotations

import json
import re
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from authsvc.cli import loop
from authsvc.cli.audit_report import print_items, print_report, report_json
from authsvc.cli.context import AsJson, ContextDir, admin_api, moment
from authsvc.errors import StartRefused, Unavailable

if TYPE_CHECKING:
    from authsvc.server.audit.verify import Report
    from authsvc.server.database import Database
    from authsvc.server.keystore import Keystore

__all__ = ["app"]

app = typer.Typer(help="Who did what: list, export, verify.", no_args_is_help=True)

_SEAL = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})\Z")

Actor = Annotated[str | None, typer.Option(help="The id of who did it.")]
Action = Annotated[str | None, typer.Option(help="An action, or all that begin so: 'credential.'.")]
Target = Annotated[str | None, typer.Option(help="The id of what it was done to.")]
RequestId = Annotated[str | None, typer.Option(help="The request's X-Request-Id.")]
Since = Annotated[
    str | None, typer.Option(help="From then on: 2026-01-31, or 2026-01-31T12:00:00Z.")
]
Until = Annotated[str | None, typer.Option(help="Before then.")]


@app.command("list")
def list_events(
    *,
    data_dir: ContextDir = None,
    actor: Actor = None,
    action: Action = None,
    target: Target = None,
    request_id: RequestId = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """What was done, newest first.

    Example: authsvc audit list --action credential. --since 2026-01-31
    """
    filters = {
        "actor": actor,
        "action": action,
        "target": target,
        "request_id": request_id,
        "since": moment(since),
        "until": moment(until),
    }
    with admin_api(data_dir) as api:
        items = list(api.pages("/v1/admin/audit", limit=limit, **filters))
    if as_json:
        print(json.dumps({"items": items}))
    else:
        print_items(items)


@app.command()
def export(
    *,
    data_dir: ContextDir = None,
    output: Annotated[
        Path | None, typer.Option(help="A file; standard output unless given.")
    ] = None,
    actor: Actor = None,
    action: Action = None,
    target: Target = None,
    request_id: RequestId = None,
    since: Since = None,
    until: Until = None,
) -> None:
    """Everything, oldest first, as NDJSON: an item a line.

    Example: authsvc audit export --since 2026-01-01 --until 2026-02-01 --output january.ndjson
    """
    filters = {
        "actor": actor,
        "action": action,
        "target": target,
        "request_id": request_id,
        "since": moment(since),
        "until": moment(until),
    }
    with ExitStack() as stack:
        api = stack.enter_context(admin_api(data_dir))
        target_file = stack.enter_context(output.open("wb")) if output else sys.stdout.buffer
        for line in api.lines("/v1/admin/audit/export", **filters):
            target_file.write(line)
        target_file.flush()


@app.command()
def verify(
    *,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where the database and the master key are.")
    ] = None,
    expect: Annotated[
        str | None,
        typer.Option(
            metavar="BATCH:DIGEST", help="A seal that was noted earlier and kept elsewhere."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Whether the audit is what was sealed; and if not, where not.

    It reads the database itself, with the service's settings and master key; the service may run.
    Exit code 0: it is; 1: it is not; 4: the database or the master key can't be used.

    Example: authsvc audit verify --data-dir ./data
    """
    seal = _SEAL.match(expect) if expect is not None else None
    if expect is not None and seal is None:
        raise typer.BadParameter("--expect needs BATCH:DIGEST, as an earlier verify printed it")
    try:
        database, keystore = _open(data_dir)
        expected = (int(seal[1]), seal[2]) if seal else None
        report = loop.run(_verify(database, keystore, expected))
    except StartRefused as error:
        # Not 1, which says that the audit was changed.
        raise Unavailable(str(error)) from None
    if as_json:
        print(json.dumps(report_json(report)))
    else:
        print_report(report)
    if not report.ok:
        raise typer.Exit(1)


def _open(data_dir: Path | None) -> tuple[Database, Keystore]:
    """The database and the keystore that the settings name; nothing is made.

    Raises:
        Unavailable: There is no such database or no master key.
    """
    from authsvc.cli.store import find_store  # noqa: PLC0415

    store = find_store(data_dir)
    return store.database, store.keystore


async def _verify(
    database: Database, keystore: Keystore, expected: tuple[int, str] | None
) -> Report:
    from authsvc.server.audit.verify import snapshot, verify  # noqa: PLC0415
    from authsvc.server.keystore import verify_master_key  # noqa: PLC0415

    try:
        await database.start()
        async with snapshot(database) as session:
            await verify_master_key(session, keystore)
            return await verify(session, keystore, expected)
    finally:
        await database.stop()
