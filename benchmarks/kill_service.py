"""kill -9 of the service at random moments of many issuances; nothing that was handed out is lost.

    python -m benchmarks.kill_service [--issuances 10000] [--kills 100] [--database URL] [--json]

Clients note every JWT that reaches them. Afterwards each must have its credential row and its
audit event, the audit must verify, and must no longer verify when an event is changed, removed,
or swapped with another one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

from tests.server.audit.kills import kill


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--issuances", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--database", help="a database URL; SQLite in a new folder unless given")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        outcome = asyncio.run(
            kill(
                folder / "data",
                options.database or f"sqlite+aiosqlite:///{folder / 'kill.db'}",
                issuances=options.issuances,
                kills=options.kills,
                seed=options.seed,
            )
        )
    found = {
        "JWTs received": outcome.received,
        "kills": outcome.kills,
        "requests cut off": outcome.broken,
        "JWTs without row": outcome.without_row,
        "JWTs without event": outcome.without_event,
        "events sealed": outcome.report.events,
        "seals": outcome.report.batches,
        "verify passes": outcome.report.ok,
        **{f"verify, event {what}": kinds for what, kinds in outcome.found.items()},
        "seconds": round(outcome.seconds, 1),
    }
    if options.json:
        print(json.dumps(found))
    else:
        for title, value in found.items():
            print(f"{title:24} {value}")
    held = outcome.report.ok and not outcome.without_row and not outcome.without_event
    sys.exit(0 if held and all(outcome.found.values()) else 1)


if __name__ == "__main__":
    main()
