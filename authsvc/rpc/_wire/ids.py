"""Request ids, drawn from the system many at a time: one by one they cost as much as sending."""

from __future__ import annotations

import os

__all__ = ["request_id"]

_BYTES = 16
_MANY = 64
_drawn: list[str] = []

# A child process would draw the same ones as its parent.
os.register_at_fork(after_in_child=_drawn.clear)


def request_id() -> str:
    """128 random bits as 32 lower-case hex digits; from any thread, no two the same."""
    try:
        return _drawn.pop()
    except IndexError:
        text = os.urandom(_BYTES * _MANY).hex()
    first, *others = (text[place : place + 2 * _BYTES] for place in range(0, len(text), 2 * _BYTES))
    _drawn.extend(others)
    return first
