"""What two readings of ``/metrics`` say together: rates, and quantiles of what happened between.

    before = read(text); after = read(later)
    between(before, after, seconds)

A counter that fell began anew: the service was started again, or another replica answered. Nothing
is said of such an interval. Quantiles as Prometheus's ``histogram_quantile`` makes them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Reading", "between", "quantile", "read"]

_LOGIN = "/v1/credentials"
_HELD = {"requests", "responses"}


@dataclass(frozen=True, slots=True)
class Reading:
    """The samples of one moment, of one replica or of several together.

    Args:
        samples: By name, each with its labels and value.
    """

    samples: Mapping[str, list[tuple[Mapping[str, str], float]]] = field(default_factory=dict)

    def total(self, name: str, **labels: str) -> float:
        """The sum over all samples with these labels."""
        return sum(value for found, value in self._of(name, labels))

    def most(self, name: str, **labels: str) -> float:
        """The largest, for what all replicas tell of the same thing."""
        return max((value for _, value in self._of(name, labels)), default=0.0)

    def by(self, name: str, label: str) -> dict[str, float]:
        """The sums by a label's values."""
        sums: defaultdict[str, float] = defaultdict(float)
        for found, value in self.samples.get(name, []):
            sums[found.get(label, "")] += value
        return dict(sums)

    def most_by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """The largest by a label's values."""
        found: dict[str, float] = {}
        for its, value in self._of(name, labels):
            found[its.get(label, "")] = max(value, found.get(its.get(label, ""), -math.inf))
        return found

    def _of(
        self, name: str, labels: Mapping[str, str]
    ) -> Iterable[tuple[Mapping[str, str], float]]:
        return (
            (found, value)
            for found, value in self.samples.get(name, [])
            if all(found.get(key) == wanted for key, wanted in labels.items())
        )

    def buckets(self, name: str, **labels: str) -> dict[float, float]:
        """A histogram's cumulative counts by upper bound, over all that have these labels."""
        sums: defaultdict[float, float] = defaultdict(float)
        for found, value in self._of(f"{name}_bucket", labels):
            sums[float(found["le"])] += value
        return dict(sums)


def read(*texts: str) -> Reading:
    """Read what ``/metrics`` answered; of several replicas, together.

    Args:
        texts: In Prometheus's text format.
    """
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415

    samples: defaultdict[str, list[tuple[Mapping[str, str], float]]] = defaultdict(list)
    for text in texts:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples[sample.name].append((sample.labels, sample.value))
    return Reading(samples)


def quantile(q: float, before: Mapping[float, float], after: Mapping[float, float]) -> float | None:
    """A quantile of what was observed between two readings; None if nothing was.

    Args:
        q: From 0 to 1.
        before: Cumulative counts by upper bound.
        after: The same, later.
    """
    bounds = sorted(after)
    counts = [after[bound] - before.get(bound, 0.0) for bound in bounds]
    if not counts or counts[-1] <= 0:
        return None
    rank, lower, below = q * counts[-1], 0.0, 0.0
    for bound, count in zip(bounds, counts, strict=True):
        if count >= rank:
            if math.isinf(bound):
                return lower
            share = (rank - below) / (count - below) if count > below else 1.0
            return lower + (bound - lower) * share
        lower, below = bound, count
    return lower


def between(before: Reading, after: Reading, seconds: float) -> dict[str, Any]:
    """What happened between two readings, and what is so at the second.

    Args:
        before: The first.
        after: The second.
        seconds: Between them.
    """

    def rate(name: str, **labels: str) -> float | None:
        grown = after.total(name, **labels) - before.total(name, **labels)
        return round(grown / seconds, 2) if grown >= 0 and seconds > 0 else None

    def rates(name: str, label: str) -> dict[str, float]:
        then = before.by(name, label)
        found = {key: value - then.get(key, 0) for key, value in after.by(name, label).items()}
        return {key: round(it / seconds, 2) for key, it in sorted(found.items()) if it > 0}

    def milliseconds(q: float, **labels: str) -> float | None:
        name = "authsvc_http_request_duration_seconds"
        found = quantile(q, before.buckets(name, **labels), after.buckets(name, **labels))
        return None if found is None else round(found * 1000, 1)

    def latency(**labels: str) -> dict[str, float | None]:
        return {"p50_ms": milliseconds(0.5, **labels), "p99_ms": milliseconds(0.99, **labels)}

    sent = _grown(before, after, "out", seconds)
    return {
        "seconds": round(seconds, 2),
        "rates": {
            "logins": rate("authsvc_credentials_issued_total", by="login"),
            "renewals": rate("authsvc_credentials_issued_total", by="renewal"),
            "callouts": rate("authsvc_credentials_issued_total", by="callout"),
            "refusals": rate("authsvc_requests_refused_total"),
            "requests": rate("authsvc_http_requests_total"),
        },
        "refusals": rates("authsvc_requests_refused_total", "problem"),
        "latency": {"login": latency(method="POST", route=_LOGIN), "all": latency()},
        "connections": sum(after.most_by("authsvc_nats_connections", "server").values()),
        "messages": sent,
        "servers": {
            "live": after.most("authsvc_servers"),
            "behind": after.most("authsvc_servers_behind"),
        },
        "mailboxes": {
            "users": after.most("authsvc_mailboxes"),
            "pending": after.most("authsvc_mailboxes_pending"),
            **{kind: after.most("authsvc_mailbox_messages", kind=kind) for kind in sorted(_HELD)},
        },
        "audit_waiting": after.most("authsvc_audit_events_waiting"),
        "database": {
            "in_use": after.total("authsvc_database_connections", state="in_use"),
            "size": after.total("authsvc_database_pool_size"),
        },
    }


def _grown(before: Reading, after: Reading, way: str, seconds: float) -> float | None:
    """Messages a second that all nats-servers passed; each replica tells the same of them."""
    name = "authsvc_nats_messages_total"
    then = before.most_by(name, "server", direction=way)
    now = after.most_by(name, "server", direction=way)
    grown = sum(max(value - then[key], 0) for key, value in now.items() if key in then)
    return round(grown / seconds, 2) if now and seconds > 0 else None
