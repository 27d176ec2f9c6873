"""W3C trace context: the context of a request is the parent of the calls its handler makes.

Source: https://www.w3.org/TR/trace-context/ (traceparent, tracestate).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Self

from authsvc.rpc._wire.frames import Pairs

__all__ = ["TraceContext", "current_trace", "incoming", "trace_of", "traced", "within"]

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_STATE_MEMBERS = 32
_STATE_CHARS = 512


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Where in a trace something happens.

    Args:
        trace_id: 32 lower-case hex digits, not all 0.
        span_id: 16 lower-case hex digits, not all 0.
        flags: 0 to 255; bit 0 says that the trace is recorded.
        state: ``tracestate`` as it came; vendors' own.
    """

    trace_id: str
    span_id: str
    flags: int = 0
    state: str = ""

    @classmethod
    def parse(cls, parent: str, state: str = "") -> Self | None:
        """Read ``traceparent`` and ``tracestate``; None if the former is none.

        A later version than 00 is read as far as this one knows it, as the standard wants.
        """
        match = _PARENT.fullmatch(parent.strip(" \t"))
        if match is None:
            return None
        version, trace_id, span_id, flags, more = match.groups()
        if version == "ff" or (version == "00" and more):
            return None
        if not int(trace_id, 16) or not int(span_id, 16):
            return None
        return cls(trace_id, span_id, int(flags, 16), _state(state))

    @property
    def text(self) -> str:
        """``traceparent``."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags & 1:02x}"

    def child(self) -> TraceContext:
        """The same trace, one step on."""
        return TraceContext(self.trace_id, _span_id(), self.flags, self.state)


_current: ContextVar[TraceContext | None] = ContextVar("authsvc.rpc.trace")


trace_of = _current.get
"""``current_trace`` for the hot path: ``trace_of(None)``."""


def current_trace() -> TraceContext | None:
    """The context of the request that is being handled, if it came with one."""
    return _current.get(None)


@contextmanager
def within(context: TraceContext) -> Iterator[None]:
    """Let calls that are made meanwhile be its children."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


def incoming(pairs: Pairs) -> TraceContext | None:
    """The context that a request came with."""
    for name, _ in pairs:
        if name == "traceparent":
            break
    else:
        return None
    parents = [value for name, value in pairs if name == "traceparent"]
    states = [value for name, value in pairs if name == "tracestate"]
    # More than one is none: nobody knows which is meant.
    return TraceContext.parse(parents[0], ",".join(states)) if len(parents) == 1 else None


def traced(pairs: Pairs, context: TraceContext) -> Pairs:
    """Headers of a call that is made in this context, unless they name another."""
    if any(name == "traceparent" for name, _ in pairs):
        return pairs
    child = context.child()
    pairs = tuple(pair for pair in pairs if pair[0] != "tracestate")
    added: Pairs = (("traceparent", child.text),)
    if child.state:
        added += (("tracestate", child.state),)
    return pairs + added


def _span_id() -> str:
    while not int(found := os.urandom(8).hex(), 16):
        pass
    return found


def _state(text: str) -> str:
    """``tracestate``, whole or not at all: a part of it could mean something else."""
    members = [member.strip(" \t") for member in text.split(",")]
    members = [member for member in members if member]
    found = ",".join(members)
    if len(members) > _STATE_MEMBERS or len(found) > _STATE_CHARS or not found.isascii():
        return ""
    return found if all("=" in member for member in members) else ""
