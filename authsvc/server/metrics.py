"""Prometheus metrics of the service; ``/metrics`` shows them."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

__all__ = [
    "AUDIT_SEALED",
    "AUDIT_WAITING",
    "CERTIFICATE",
    "DEAD_LETTERS",
    "DRIFT",
    "FOREIGN",
    "ISSUED",
    "JWT_BYTES",
    "MAILBOXES",
    "MAILBOXES_PENDING",
    "PENDING",
    "REFUSED",
    "REQUEUED",
    "REVOCATIONS",
    "REVOKED",
    "STREAMS",
]

ISSUED = Counter("authsvc_credentials_issued", "JWTs that left after their commit", ["by"])
REFUSED = Counter("authsvc_requests_refused", "Requests that were refused", ["problem"])
REVOKED = Counter("authsvc_credentials_revoked", "Credentials revoked")
PENDING = Gauge("authsvc_servers_behind", "nats-servers without the newest account JWT")
AUDIT_SEALED = Gauge("authsvc_audit_sealed_timestamp_seconds", "When the newest seal was made")
AUDIT_WAITING = Gauge("authsvc_audit_events_waiting", "Audit events that are not sealed yet")
DRIFT = Counter(
    "authsvc_account_jwts_mended", "Account JWTs pushed again because a server lost them", ["kind"]
)
FOREIGN = Gauge("authsvc_foreign_account_jwts", "Account JWTs on nats-servers that are not ours")
JWT_BYTES = Gauge("authsvc_account_jwt_bytes", "Size of an account JWT, of 1 MiB", ["account"])
REVOCATIONS = Gauge("authsvc_account_revocations", "Revocations in an account JWT", ["account"])
MAILBOXES = Gauge("authsvc_mailboxes", "Users with a mailbox")
MAILBOXES_PENDING = Gauge("authsvc_mailboxes_pending", "Mailboxes that nats-server has not yet")
STREAMS = Counter("authsvc_mailbox_streams_changed", "Streams that were changed", ["by"])
DEAD_LETTERS = Counter("authsvc_dead_letters", "Stored requests that nobody could handle")
CERTIFICATE = Gauge(
    "authsvc_tls_certificate_expiry_timestamp_seconds", "When the API's certificate expires"
)
REQUEUED = Counter("authsvc_dead_letters_requeued", "Dead letters that were put back")
