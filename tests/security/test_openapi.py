"""The OpenAPI document against the service, by schemathesis: what fits it, and what does not.

No answer is a 5xx, each has a status, a type and a form that the document has. A run by hand:
``AUTHSVC_FUZZ_CASES=40 AUTHSVC_FUZZ_PHASES=coverage,fuzzing,stateful pytest`` with this file.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import pytest

from tests.fixtures.authsvc import SECRET, StartService

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,response_headers_conformance"
)
CASES = os.environ.get("AUTHSVC_FUZZ_CASES", "3")
PHASES = os.environ.get("AUTHSVC_FUZZ_PHASES", "fuzzing,stateful")


def _everything_was_reached(tally: dict[str, dict[str, int]]) -> None:
    """No route was only refused for who called, and most did what they are for."""
    print(json.dumps(tally, indent=1))  # noqa: T201
    tally = {name: statuses for name, statuses in tally.items() if set(statuses) != {"405"}}
    for operation, statuses in tally.items():
        assert statuses.keys() - {"401", "403"}, f"{operation}: {statuses}"
    done = [name for name, statuses in tally.items() if any(it < "300" for it in statuses)]
    assert len(done) > len(tally) * 0.6, set(tally) - set(done)
    assert {"POST /v1/admin/grants", "POST /v1/admin/explain"} <= set(done)


@pytest.mark.timeout(3000 if "AUTHSVC_FUZZ_CASES" in os.environ else 150)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_every_answer_is_as_documented(start_service: StartService, tmp_path: Path) -> None:
    service = await start_service(device_login=True)
    tally = tmp_path / "tally.json"
    environ = {
        "SCHEMATHESIS_HOOKS": "tests.security.openapi_hooks",
        "FUZZ_URL": service.url,
        "FUZZ_API_KEY": await service.api_key("admin"),
        "FUZZ_SECRET": SECRET,
        "FUZZ_TALLY": str(tally),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path]),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{service.url}/openapi.json"),
        *("--checks", CHECKS, "--phases", PHASES, "--max-examples", CASES),
        *("--seed", "7", "--no-color", "--generation-database", "none"),
        env={**os.environ, **environ},
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    told = out.decode()
    print(told)  # noqa: T201 - pytest shows it where something failed
    assert process.returncode == 0, told[-6000:]
    cases = re.search(r"(\d+) generated", told)
    assert cases is not None
    assert int(cases[1]) > 100
    _everything_was_reached(json.loads(tally.read_text()))
    # It is all still there, and in one piece.
    assert (await service.http.get("/readyz")).status_code == 200
