"""The page of metrics: from what the service registers with Prometheus's client."""

from __future__ import annotations

from typing import Any

from prometheus_client import REGISTRY
from prometheus_client.metrics_core import Metric

import authsvc.server.app  # noqa: F401 - whatever it imports has registered its metrics then
from handbook.tables import table

__all__ = ["page"]

_HEAD = """# Metrics

`GET /metrics` answers in Prometheus's text format, without authorization: let only your monitoring
reach it. Python's own metrics (`python_...`, `process_...`) stand beside these.

"""


_ENDINGS = {"counter": "_total", "info": "_info"}


def page() -> str:
    """The page."""
    rows = []
    for metric in sorted(REGISTRY.collect(), key=lambda it: it.name):
        if metric.name.startswith("authsvc_"):
            name = metric.name + _ENDINGS.get(metric.type, "")
            rows.append([f"`{name}`", metric.type, _labels(metric), metric.documentation])
    return _HEAD + table(["metric", "kind", "labels", ""], rows)


def _labels(metric: Metric) -> str:
    # The client's metrics don't tell their labels in public before they have samples; what a
    # collector of ours makes, does.
    collector = REGISTRY._names_to_collectors[metric.name]  # noqa: SLF001
    names: Any = getattr(collector, "_labelnames", None) or getattr(metric, "_labelnames", ())
    return ", ".join(f"`{label}`" for label in names)
