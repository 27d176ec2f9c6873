"""The page of metrics: from what the service registers with Prometheus's client."""

from __future__ import annotations

from prometheus_client import REGISTRY

import authsvc.server.app  # noqa: F401 - whatever it imports has registered its metrics then
from handbook.tables import table

__all__ = ["page"]

_HEAD = """# Metrics

`GET /metrics` answers in Prometheus's text format, without authorization: let only your monitoring
reach it. Python's own metrics (`python_...`, `process_...`) stand beside these.

"""


def page() -> str:
    """The page."""
    rows = []
    for metric in sorted(REGISTRY.collect(), key=lambda it: it.name):
        if metric.name.startswith("authsvc_"):
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            rows.append([f"`{name}`", metric.type, _labels(metric.name), metric.documentation])
    return _HEAD + table(["metric", "kind", "labels", ""], rows)


def _labels(name: str) -> str:
    # The client's metrics don't tell their labels in public before they have samples.
    collector = REGISTRY._names_to_collectors[name]  # noqa: SLF001
    return ", ".join(f"`{label}`" for label in getattr(collector, "_labelnames", ()))
