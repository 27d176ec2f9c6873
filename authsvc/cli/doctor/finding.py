"""What ``authsvc doctor`` finds: one line of its table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from authsvc.errors import ApiError, AuthsvcError

__all__ = ["Finding", "State", "fail", "good", "guarded", "warn"]

_UNAUTHORIZED, _FORBIDDEN = 401, 403


class State(StrEnum):
    """How it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        check: What was looked at.
        state: How it is.
        detail: What was seen.
        mend: The command that mends it, or what to do; empty where nothing is to be done.
    """

    check: str
    state: State
    detail: str
    mend: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def good(check: str, detail: str) -> Finding:
    """All is well."""
    return Finding(check, State.OK, detail)


def warn(check: str, detail: str, mend: str) -> Finding:
    """It works, and should be looked at."""
    return Finding(check, State.WARN, detail, mend)


def fail(check: str, detail: str, mend: str) -> Finding:
    """It does not work, or is not safe."""
    return Finding(check, State.FAIL, detail, mend)


def guarded(check: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    """What a look finds; where the service does not let us look, that.

    Args:
        check: What is looked at.
        look: Does it.
    """
    try:
        return look()
    except ApiError as error:
        if error.status == _UNAUTHORIZED:
            told = "the service refuses the API key"
            return [fail(check, told, "start `authsvc up` anew, or set AUTHSVC_API_KEY")]
        if error.status == _FORBIDDEN:
            told = f"can't be looked at: {error.problem.get('detail') or 'forbidden'}"
            return [warn(check, told, "use an API key with the scope admin")]
        return [fail(check, str(error), "authsvc status")]
    except AuthsvcError as error:
        return [fail(check, str(error), "authsvc status")]
