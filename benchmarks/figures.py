"""Percentiles and slopes, as all benchmarks of scale say them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

__all__ = ["at", "slope", "spread"]


def at(seconds: Iterable[float], part: float) -> float:
    """Milliseconds within which so many were done; 0 where there are none."""
    found = sorted(seconds)
    return round(found[min(len(found) - 1, int(len(found) * part))] * 1000, 2) if found else 0.0


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """p50 and p99 in milliseconds."""
    return {"p50": at(seconds, 0.5), "p99": at(seconds, 0.99)}


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the straight line through them, by least squares."""
    return statistics.linear_regression(*zip(*points, strict=True)).slope
