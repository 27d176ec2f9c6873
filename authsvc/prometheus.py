"""Prometheus metrics of an app's calls and handlers: ``pip install 'authsvc[prometheus]'``.

    Service("app", middleware=[request_metrics()])
    AsyncClient(middleware=[call_metrics()])
    prometheus_client.start_http_server(9100)

Labels are the app, the method and the status: no person, no path as it was asked.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from authsvc.rpc import (
    CallMiddleware,
    Middleware,
    Outgoing,
    Proceed,
    ProceedCall,
    Request,
    Response,
)

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["call_metrics", "request_metrics"]

_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class _Metrics(NamedTuple):
    requests: Counter
    request_seconds: Histogram
    in_flight: Gauge
    calls: Counter
    call_seconds: Histogram


_made: WeakKeyDictionary[CollectorRegistry, _Metrics] = WeakKeyDictionary()


def request_metrics(registry: CollectorRegistry | None = None) -> Middleware:
    """A service's middleware: requests by status, how long they took, how many are in flight.

    Args:
        registry: Where the metrics are; the usual one if None.

    Raises:
        RuntimeError: prometheus-client is not installed.
    """
    metrics = _metrics(registry)

    async def measured(request: Request, proceed: Proceed) -> Response:
        started, status = time.perf_counter(), "500"
        in_flight = metrics.in_flight.labels(request.app)
        in_flight.inc()
        try:
            response = await proceed(request)
            status = str(response.status)
        finally:
            in_flight.dec()
            metrics.requests.labels(request.app, _method(request.method), status).inc()
            metrics.request_seconds.labels(request.app).observe(time.perf_counter() - started)
        return response

    return measured


def call_metrics(registry: CollectorRegistry | None = None) -> CallMiddleware:
    """A client's middleware: calls by what came of them, and how long that took.

    The label ``outcome`` is a status, or the name of the error, such as ``NoResponder``.

    Args:
        registry: Where the metrics are; the usual one if None.

    Raises:
        RuntimeError: prometheus-client is not installed.
    """
    metrics = _metrics(registry)

    async def measured(call: Outgoing, proceed: ProceedCall) -> Response:
        started, outcome = time.perf_counter(), "cancelled"
        try:
            response = await proceed(call)
            outcome = str(response.status)
        except Exception as error:
            outcome = type(error).__name__
            raise
        finally:
            metrics.calls.labels(call.app, _method(call.method), outcome).inc()
            metrics.call_seconds.labels(call.app).observe(time.perf_counter() - started)
        return response

    return measured


def _method(name: str) -> str:
    return name if name in _METHODS else "other"


def _metrics(registry: CollectorRegistry | None) -> _Metrics:
    try:
        import prometheus_client  # noqa: PLC0415 - optional
    except ImportError as error:
        raise RuntimeError(
            "metrics need prometheus-client: pip install 'authsvc[prometheus]'"
        ) from error
    place = registry or prometheus_client.REGISTRY
    if place not in _made:
        _made[place] = _register(prometheus_client, place)
    return _made[place]


def _register(prometheus: Any, place: CollectorRegistry) -> _Metrics:
    return _Metrics(
        prometheus.Counter(
            "authsvc_rpc_requests",
            "Requests that handlers answered",
            ["app", "method", "status"],
            registry=place,
        ),
        prometheus.Histogram(
            "authsvc_rpc_request_duration_seconds",
            "How long handlers took",
            ["app"],
            buckets=_BUCKETS,
            registry=place,
        ),
        prometheus.Gauge(
            "authsvc_rpc_requests_in_flight", "Requests being handled", ["app"], registry=place
        ),
        prometheus.Counter(
            "authsvc_rpc_calls",
            "Calls of other people's apps",
            ["app", "method", "outcome"],
            registry=place,
        ),
        prometheus.Histogram(
            "authsvc_rpc_call_duration_seconds",
            "How long calls took",
            ["app"],
            buckets=_BUCKETS,
            registry=place,
        ),
    )
