"""What a client received is there after kill -9.

The long form: ``python -m benchmarks.kill_service``.
"""

from __future__ import annotations

from pathlib import Path

from tests.server.audit.kills import kill


async def test_no_jwt_is_without_its_row_and_event(database_url: str, tmp_path: Path) -> None:
    outcome = await kill(tmp_path / "data", database_url, issuances=300, kills=3, seed=7)
    assert outcome.received >= 300
    assert (outcome.without_row, outcome.without_event) == (0, 0)
    assert outcome.report.ok
    assert outcome.report.events >= outcome.received
    assert outcome.found == {
        "changed": ["event-changed"],
        "removed": ["event-removed"],
        "swapped": ["event-changed", "event-changed"],
    }
