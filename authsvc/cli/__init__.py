"""The command line: ``authsvc up``, ``serve``, ``user``, ``key``, ``nats`` and so on.

Exit codes: 0 ok, 1 failed, 2 usage, 3 refused or not confirmed, 4 unavailable.
"""

from __future__ import annotations

import sys

__all__ = ["main"]

_NEEDS_SERVER = (
    "The command line comes with the service: pip install 'authsvc[server]'.\n"
    "The library alone (import authsvc.rpc) needs no command line."
)


def main() -> None:
    """Run the command that the arguments name."""
    try:
        from authsvc.cli.commands import run  # noqa: PLC0415 - the base install has no typer
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("authsvc"):
            raise
        print(_NEEDS_SERVER, file=sys.stderr)
        raise SystemExit(1) from error
    run()
