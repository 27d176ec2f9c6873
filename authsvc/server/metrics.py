"""Prometheus metrics of the service; ``/metrics`` shows them."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

__all__ = [
    "DRIFT",
    "FOREIGN",
    "ISSUED",
    "JWT_BYTES",
    "PENDING",
    "REFUSED",
    "REVOCATIONS",
    "REVOKED",
]

ISSUED = Counter("authsvc_credentials_issued", "JWTs that left after their commit", ["by"])
REFUSED = Counter("authsvc_requests_refused", "Requests that were refused", ["problem"])
REVOKED = Counter("authsvc_credentials_revoked", "Credentials revoked")
PENDING = Gauge("authsvc_servers_behind", "nats-servers without the newest account JWT")
DRIFT = Counter(
    "authsvc_account_jwts_mended", "Account JWTs pushed again because a server lost them", ["kind"]
)
FOREIGN = Gauge("authsvc_foreign_account_jwts", "Account JWTs on nats-servers that are not ours")
JWT_BYTES = Gauge("authsvc_account_jwt_bytes", "Size of an account JWT, of 1 MiB", ["account"])
REVOCATIONS = Gauge("authsvc_account_revocations", "Revocations in an account JWT", ["account"])
