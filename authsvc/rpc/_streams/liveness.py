"""How either side of an exchange in chunks learns that the other one is gone."""

from __future__ import annotations

import time

from authsvc.errors import Disconnected, RpcError
from authsvc.rpc._wire.flow import Inflow, Outflow

__all__ = ["Liveness"]


class Liveness:
    """When this side last spoke and last heard something, and whether a chunk is missing."""

    SPEAK_SECONDS = 15.0
    """After so long without a word of its own, a side says that it is there."""

    SILENCE_SECONDS = 60.0
    """After so long without a word of the other side, it is given up."""

    STALL_SECONDS = 300.0
    """For so long, a responder waits for a requester that neither sends nor takes anything."""

    GAP_SECONDS = 15.0
    """For so long, a later chunk may be here before an earlier one."""

    __slots__ = ("_gap_at", "_gap_since", "heard", "spoke")

    def __init__(self) -> None:
        self.heard = self.spoke = time.monotonic()
        self._gap_at = -1
        self._gap_since = 0.0

    def lost(self, now: float, inflow: Inflow | None) -> RpcError | None:
        """Why the exchange is to be given up, if it is."""
        if now - self.heard > self.SILENCE_SECONDS:
            return Disconnected("the other side has been silent for too long")
        if inflow is None or not inflow.holds:
            self._gap_at = -1
        elif self._gap_at != inflow.next:
            self._gap_at, self._gap_since = inflow.next, now
        elif now - self._gap_since > self.GAP_SECONDS:
            return Disconnected("a chunk of the body was lost")
        return None

    def stalled(self, now: float, inflow: Inflow | None, outflow: Outflow | None) -> bool:
        """Whether the other side is there, but lets this one wait for too long."""
        waits = [flow.waits_since for flow in (inflow, outflow) if flow is not None]
        return any(since is not None and now - since > self.STALL_SECONDS for since in waits)

    def should_speak(self, now: float) -> bool:
        """Whether it is time to say that this side is there."""
        return now - self.spoke > self.SPEAK_SECONDS
