"""OpenTelemetry spans for calls and handlers: ``pip install authsvc[otel]``.

    AsyncClient(middleware=[client_spans()])
    Service("app", middleware=[server_spans()])

A handler's span has the caller's for its parent, by W3C trace context. Nothing of OpenTelemetry
is imported before one of the two is called. Names follow its semantic conventions for RPC:
https://opentelemetry.io/docs/specs/semconv/rpc/rpc-spans/.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from authsvc.rpc._messages.message import Request, Response
from authsvc.rpc._messages.middleware import (
    CallMiddleware,
    Middleware,
    Outgoing,
    Proceed,
    ProceedCall,
)
from authsvc.rpc._messages.trace import TraceContext, within

if TYPE_CHECKING:
    from opentelemetry.trace import Span, TracerProvider

__all__ = ["client_spans", "server_spans"]

_NAME = "authsvc.rpc"
_FAILED = 500


def server_spans(provider: TracerProvider | None = None) -> Middleware:
    """A service's middleware: a span for each request.

    Args:
        provider: Where spans go; the global one if None.

    Raises:
        RuntimeError: OpenTelemetry is not installed.
    """
    trace, propagator = _opentelemetry()
    tracer = trace.get_tracer(_NAME, tracer_provider=provider)

    async def spanned(request: Request, proceed: Proceed) -> Response:
        span = tracer.start_span(
            f"{request.app}{request.path}",
            context=propagator.extract(dict(request.headers)),
            kind=trace.SpanKind.SERVER,
            attributes=_attributes(request.app, request.method, request.path)
            | {"authsvc.requester": request.requester, "authsvc.request_id": request.id},
        )
        with ExitStack() as stack:
            stack.enter_context(
                trace.use_span(span, end_on_exit=True, set_status_on_exception=True)
            )
            if (context := _context(span)) is not None:
                # Calls of clients without this middleware are children of it, too.
                stack.enter_context(within(context))
            response = await proceed(request)
            _finish(trace, span, response, _FAILED)
        return response

    return spanned


def client_spans(provider: TracerProvider | None = None) -> CallMiddleware:
    """A client's middleware: a span for each call, whose context travels with it.

    Args:
        provider: Where spans go; the global one if None.

    Raises:
        RuntimeError: OpenTelemetry is not installed.
    """
    trace, propagator = _opentelemetry()
    tracer = trace.get_tracer(_NAME, tracer_provider=provider)

    async def spanned(call: Outgoing, proceed: ProceedCall) -> Response:
        attributes = _attributes(call.app, call.method, call.path)
        with tracer.start_as_current_span(
            f"{call.app}{call.path}",
            kind=trace.SpanKind.CLIENT,
            attributes=attributes | {"authsvc.responder": call.name},
        ) as span:
            carried: dict[str, str] = {}
            propagator.inject(carried)
            response = await proceed(call.with_headers(carried))
            _finish(trace, span, response, 400)
        return response

    return spanned


def _opentelemetry() -> tuple[Any, Any]:
    try:
        from opentelemetry import trace  # noqa: PLC0415  optional
        from opentelemetry.trace.propagation import tracecontext  # noqa: PLC0415
    except ImportError as error:
        raise RuntimeError("spans need OpenTelemetry: pip install authsvc[otel]") from error
    return trace, tracecontext.TraceContextTextMapPropagator()


def _attributes(app: str, method: str, path: str) -> dict[str, str]:
    return {
        "rpc.system": "authsvc",
        "rpc.service": app,
        "rpc.method": path,
        "http.request.method": method,
    }


def _finish(trace: Any, span: Span, response: Response, failed: int) -> None:
    span.set_attribute("http.response.status_code", response.status)
    if response.status >= failed:
        span.set_status(trace.Status(trace.StatusCode.ERROR))


def _context(span: Span) -> TraceContext | None:
    found = span.get_span_context()
    if not found.is_valid:
        return None
    state = found.trace_state.to_header()
    return TraceContext(
        f"{found.trace_id:032x}", f"{found.span_id:016x}", int(found.trace_flags), state
    )
