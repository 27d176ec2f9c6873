"""``authsvc user import``: users by the hundred thousand, as NDJSON."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from authsvc.cli.asking import DryRun
from authsvc.cli.context import AsJson, ContextDir, admin_api
from authsvc.cli.show import visible
from authsvc.errors import InvalidInput

__all__ = ["import_users"]

_ROUTE = "/v1/admin/users:import"


def import_users(
    file: Annotated[Path, typer.Argument(help="A JSON object a line; - for standard input.")],
    *,
    data_dir: ContextDir = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Create users from a file: a JSON object a line, such as {"username": "alice@example.com"}.

    A file may be given again after whatever went wrong: who is there stays as they are. What is
    wrong with a line is told on standard error, and the others go on; the exit code is then 1.
    --json prints each line's result. --dry-run looks at lines and names only, and asks no service.

    Example: authsvc user import users.ndjson
    """
    with ExitStack() as stack:
        lines: BinaryIO = (
            sys.stdin.buffer if str(file) == "-" else stack.enter_context(file.open("rb"))
        )
        if dry_run:
            results: Iterator[dict[str, Any]] = _look(lines)
        else:
            api = stack.enter_context(admin_api(data_dir))
            results = map(json.loads, api.exchange(_ROUTE, lines))
        counts = _tell(results, as_json=as_json)
    if not as_json:
        said = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        print(said or "no line holds a user")
    if counts["invalid"] or counts["failed"]:
        raise typer.Exit(1)


def _tell(results: Iterator[dict[str, Any]], *, as_json: bool) -> Counter[str]:
    """Print what has to be told of each line; returns how many had each status."""
    counts: Counter[str] = Counter()
    for result in results:
        counts[result["status"]] += 1
        if as_json:
            print(json.dumps(result))
        elif result["error"] is not None:
            text = f"line {result['line']} {result['status']}: {result['error']}"
            print(visible(text), file=sys.stderr)
    return counts


def _look(lines: BinaryIO) -> Iterator[dict[str, Any]]:
    """What ``--dry-run`` finds: ``valid`` or ``invalid``, in the form of the service's results."""
    from authsvc import jose  # noqa: PLC0415
    from authsvc.subjects import username  # noqa: PLC0415

    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name = error = None
        try:
            found = jose.loads(line)
            email = found.get("kind", "email") == "email"
            name = username(str(found.get("username") or ""), email=email)
        except InvalidInput as refused:
            error = str(refused)
        status = "valid" if error is None else "invalid"
        yield {"line": number, "status": status, "id": None, "username": name, "error": error}
