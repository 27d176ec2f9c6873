"""An event loop for commands that work in the store; asyncio is slow to import for all others."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["run"]

_Result = TypeVar("_Result")


def run(main: Coroutine[Any, Any, _Result]) -> _Result:
    """``asyncio.run``."""
    import asyncio  # noqa: PLC0415

    return asyncio.run(main)
