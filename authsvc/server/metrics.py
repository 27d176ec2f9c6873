"""Prometheus metrics of the service; ``/metrics`` shows them."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

__all__ = ["ISSUED", "PENDING", "REFUSED", "REVOKED"]

ISSUED = Counter("authsvc_credentials_issued", "JWTs that left after their commit", ["by"])
REFUSED = Counter("authsvc_requests_refused", "Requests that were refused", ["problem"])
REVOKED = Counter("authsvc_credentials_revoked", "Credentials revoked")
PENDING = Gauge("authsvc_servers_behind", "nats-servers without the newest account JWT")
