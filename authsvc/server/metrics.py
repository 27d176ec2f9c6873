"""Prometheus metrics of the service; ``/metrics`` shows them.

Names follow https://prometheus.io/docs/practices/naming/: ``authsvc_``, the unit, ``_total`` for
what only grows. Every label takes few values: no user, key, address or path as it was asked.

Each replica tells of itself. Counters and histograms are summed over replicas; gauges about what
all replicas share (servers, mailboxes, accounts, the audit) are taken by ``max``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Info
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from authsvc import __version__

__all__ = [
    "AUDIT_SEALED",
    "AUDIT_WAITING",
    "BEHIND",
    "CALLOUT_SECONDS",
    "CERTIFICATE",
    "CONNECTED",
    "CONNECTIONS",
    "DEAD_LETTERS",
    "DRIFT",
    "FOREIGN",
    "ISSUED",
    "JWT_BYTES",
    "KICKED",
    "LIMITED",
    "MAILBOXES",
    "MAILBOXES_PENDING",
    "MAILBOX_BYTES",
    "MAILBOX_FULLEST",
    "MAILBOX_MESSAGES",
    "NATS",
    "POOL_SIZE",
    "PROPAGATION_SECONDS",
    "PUSH_SECONDS",
    "REFUSED",
    "REQUESTS",
    "REQUEST_SECONDS",
    "REQUEUED",
    "REVOCATIONS",
    "REVOKED",
    "SERVERS",
    "STREAMS",
    "TRANSACTION_SECONDS",
    "NatsStatistics",
]

_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_PATIENT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# The HTTP API.
REQUESTS = Counter(
    "authsvc_http_requests", "HTTP requests that were answered", ["method", "route", "status"]
)
REQUEST_SECONDS = Histogram(
    "authsvc_http_request_duration_seconds",
    "From a request's head to the end of its answer",
    ["method", "route"],
    buckets=_QUICK,
)
REFUSED = Counter("authsvc_requests_refused", "Requests that were refused", ["problem"])
LIMITED = Counter("authsvc_sign_ins_limited", "Tries to sign in that a limit refused", ["limit"])

# Credentials.
ISSUED = Counter(
    "authsvc_credentials_issued", "JWTs that left after their commit", ["by", "method"]
)
REVOKED = Counter("authsvc_credentials_revoked", "Credentials revoked")
CALLOUT_SECONDS = Histogram(
    "authsvc_callout_duration_seconds",
    "From a question of nats-server's about a client to our answer",
    buckets=_QUICK,
)

KICKED = Counter(
    "authsvc_connections_closed",
    "Connections that were closed: their user had too many, or their credential had ended",
    ["reason"],
)

# What nats-servers hold.
CONNECTED = Gauge(
    "authsvc_nats_connected", "Whether this replica is connected as a user of its own", ["user"]
)
SERVERS = Gauge("authsvc_servers", "nats-servers that count as live")
BEHIND = Gauge("authsvc_servers_behind", "nats-servers without the newest account JWT")
PUSH_SECONDS = Histogram(
    "authsvc_push_duration_seconds",
    "From the push of an account JWT to the last server's answer and look-up",
    ["result"],
    buckets=_PATIENT,
)
PROPAGATION_SECONDS = Histogram(
    "authsvc_propagation_duration_seconds",
    "What a change waited to be held by every server, or in vain",
    ["state"],
    buckets=_PATIENT,
)
DRIFT = Counter(
    "authsvc_account_jwts_mended", "Account JWTs pushed again because a server lost them", ["kind"]
)
FOREIGN = Gauge("authsvc_foreign_account_jwts", "Account JWTs on nats-servers that are not ours")
JWT_BYTES = Gauge("authsvc_account_jwt_bytes", "Size of an account JWT, of 1 MiB", ["account"])
REVOCATIONS = Gauge("authsvc_account_revocations", "Revocations in an account JWT", ["account"])

# Mailboxes.
MAILBOXES = Gauge("authsvc_mailboxes", "Users with a mailbox")
MAILBOXES_PENDING = Gauge("authsvc_mailboxes_pending", "Mailboxes that nats-server has not yet")
MAILBOX_MESSAGES = Gauge("authsvc_mailbox_messages", "Messages in all mailboxes", ["kind"])
MAILBOX_BYTES = Gauge("authsvc_mailbox_bytes", "Their size", ["kind"])
MAILBOX_FULLEST = Gauge(
    "authsvc_mailbox_fullest_messages", "Messages in the fullest mailbox", ["kind"]
)
STREAMS = Counter("authsvc_mailbox_streams_changed", "Streams that were changed", ["by"])
DEAD_LETTERS = Counter("authsvc_dead_letters", "Stored requests that nobody could handle")
REQUEUED = Counter("authsvc_dead_letters_requeued", "Dead letters that were put back")

# The audit, the database, the listener.
AUDIT_SEALED = Gauge("authsvc_audit_sealed_timestamp_seconds", "When the newest seal was made")
AUDIT_WAITING = Gauge("authsvc_audit_events_waiting", "Audit events that are not sealed yet")
CONNECTIONS = Gauge(
    "authsvc_database_connections", "Connections of this replica to the database", ["state"]
)
POOL_SIZE = Gauge("authsvc_database_pool_size", "Connections that are kept for use")
TRANSACTION_SECONDS = Histogram(
    "authsvc_database_transaction_duration_seconds",
    "From asking for a connection to the end of its transaction",
    ["kind"],
    buckets=_QUICK,
)
CERTIFICATE = Gauge(
    "authsvc_tls_certificate_expiry_timestamp_seconds",
    "When the API's certificate expires; 0 without TLS of its own",
)
Info("authsvc_build", "What runs here").info({"version": __version__})


@dataclass(frozen=True, slots=True)
class NatsStatistics:
    """What a nats-server says of itself every ten seconds.

    Args:
        connections: Clients now.
        subscriptions: Of all clients now.
        received: Messages and bytes from clients and other servers since its start.
        sent: Messages and bytes to them.
        slow_consumers: Clients cut off for not reading, since its start.
        cpu: Percent of one core.
        memory: Bytes.
    """

    connections: int
    subscriptions: int
    received: tuple[int, int]
    sent: tuple[int, int]
    slow_consumers: int
    cpu: float
    memory: int


class _Nats(Collector):
    """The traffic of people's calls, as nats-servers count it."""

    def __init__(self) -> None:
        self.servers: Mapping[str, NatsStatistics] = {}
        """By name."""

    def describe(self) -> Iterable[Metric]:
        """The same without samples; asked for at registration."""
        return self.collect()

    def collect(self) -> Iterable[Metric]:
        """One sample for each server."""
        label, way = ["server"], ["server", "direction"]
        connections = GaugeMetricFamily(
            "authsvc_nats_connections", "Clients connected to a nats-server", labels=label
        )
        subscriptions = GaugeMetricFamily(
            "authsvc_nats_subscriptions", "Their subscriptions", labels=label
        )
        messages = CounterMetricFamily(
            "authsvc_nats_messages", "Messages that a nats-server passed", labels=way
        )
        size = CounterMetricFamily("authsvc_nats_bytes", "Their size", labels=way)
        slow = CounterMetricFamily(
            "authsvc_nats_slow_consumers", "Clients cut off for not reading", labels=label
        )
        cpu = GaugeMetricFamily(
            "authsvc_nats_cpu_ratio", "Cores that a nats-server uses", labels=label
        )
        memory = GaugeMetricFamily(
            "authsvc_nats_memory_bytes", "Memory that a nats-server uses", labels=label
        )
        for name, found in self.servers.items():
            connections.add_metric([name], found.connections)
            subscriptions.add_metric([name], found.subscriptions)
            for direction, (count, total) in (("in", found.received), ("out", found.sent)):
                messages.add_metric([name, direction], count)
                size.add_metric([name, direction], total)
            slow.add_metric([name], found.slow_consumers)
            cpu.add_metric([name], found.cpu / 100)
            memory.add_metric([name], found.memory)
        return [connections, subscriptions, messages, size, slow, cpu, memory]


NATS = _Nats()
REGISTRY.register(NATS)
