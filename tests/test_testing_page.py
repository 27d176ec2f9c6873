"""docs/testing.md: its code runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from authsvc import pytest_plugin
from authsvc.rpc import testing

PAGE = (Path(__file__).parents[1] / "docs" / "testing.md").read_text("utf-8")


async def test_its_code_runs_in_memory() -> None:
    first, second, real = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(first, names)  # noqa: S102  our own page
    await names["test_ping"]()
    exec(second, names)  # noqa: S102
    await names["test_carol_may_not"](names["service"])
    assert "authsvc_login" in real  # it runs in test_pytest_plugin


def test_it_names_what_there_is() -> None:
    for name in [*pytest_plugin.__all__, *testing.__all__]:
        assert name in PAGE or name in {"REQUESTER", "RESPONDER"}
