"""How long a stored request may wait, and when that is over."""

from __future__ import annotations

import math
import re

from authsvc.errors import InvalidInput

__all__ = ["expiry_seconds"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_TEXT = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([smhd])")
_LONGEST_SECONDS = 366 * 86400.0


def expiry_seconds(expires: float | str) -> float:
    """Seconds of an expiry: ``"30s"``, ``"15m"``, ``"1h"``, ``"7d"``, or a number of seconds.

    Raises:
        InvalidInput: It is none, not above 0, or above a year.
    """
    if isinstance(expires, str):
        match = _TEXT.fullmatch(expires.strip().lower())
        seconds = float(match[1]) * _UNITS[match[2]] if match else math.nan
    elif isinstance(expires, bool) or not isinstance(expires, int | float):
        seconds = math.nan
    else:
        seconds = float(expires)
    if not 0 < seconds <= _LONGEST_SECONDS:
        raise InvalidInput(
            f"expires={expires!r} is no expiry: '30s', '15m', '1h', '7d', or seconds above 0, "
            "a year at most"
        )
    return seconds
