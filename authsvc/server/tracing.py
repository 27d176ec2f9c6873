"""OpenTelemetry spans of the service: requests, database statements, pushes to nats-servers.

    tracing.configure()                       # once, by the command line
    with tracing.span("push", account=name): ...

Off, and nothing of OpenTelemetry's SDK imported, unless the environment asks for traces by its own
variables: ``OTEL_TRACES_EXPORTER`` (``otlp`` or ``console``) or ``OTEL_EXPORTER_OTLP_ENDPOINT``
(or ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``), and not ``OTEL_SDK_DISABLED=true``. Needs
``pip install 'authsvc[otel]'``. What else may be set (service name, sampler, headers, batches):
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/.

A span has no token, key, body or parameter of a statement: names, routes and statuses alone.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import event

from authsvc import __version__
from authsvc.errors import StartRefused

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from opentelemetry.sdk.trace.export import SpanExporter
    from sqlalchemy import Engine

__all__ = [
    "configure",
    "exporter_name",
    "finish_request",
    "request_span",
    "span",
    "statement_span",
    "trace_database",
    "trace_id",
]

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_NO_SPAN = contextlib.nullcontext()
_NEEDS = "traces are asked for by {}, and need OpenTelemetry: pip install 'authsvc[otel]'"


class _State:
    """The tracer, if there is one; the process has one, as it has one log."""

    tracer: Any = None
    trace: Any = None
    propagator: Any = None


def exporter_name(environ: Mapping[str, str] = os.environ) -> str | None:
    """Where spans shall go: ``otlp``, ``console``, or None for nowhere.

    Raises:
        StartRefused: The environment names another exporter.
    """
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    named = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if named in {"otlp", "console"}:
        return named
    if named == "none":
        return None
    if named:
        raise StartRefused(f"OTEL_TRACES_EXPORTER={named}: otlp, console and none are known here")
    return "otlp" if any(environ.get(name) for name in _ENDPOINTS) else None


def configure(environ: Mapping[str, str] = os.environ) -> bool:
    """Begin to record spans, where the environment asks for it; whether it does.

    Args:
        environ: The environment.

    Raises:
        StartRefused: What it asks for is not installed or not known.
    """
    name = exporter_name(environ)
    if name is None:
        return False
    try:
        from opentelemetry import trace  # noqa: PLC0415 - optional, and slow to import
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.trace.propagation import tracecontext  # noqa: PLC0415

        exporter = _exporter(name)
    except ImportError as error:
        asked = next(
            (it for it in ("OTEL_TRACES_EXPORTER", *_ENDPOINTS) if environ.get(it)), "OTEL_*"
        )
        raise StartRefused(_NEEDS.format(asked)) from error
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go before these.
    own = {} if environ.get("OTEL_SERVICE_NAME") else {"service.name": "authsvc"}
    provider = TracerProvider(resource=Resource.create({"service.version": __version__, **own}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    atexit.register(provider.shutdown)
    _State.trace = trace
    _State.tracer = provider.get_tracer("authsvc.server", __version__)
    _State.propagator = tracecontext.TraceContextTextMapPropagator()
    return True


def _exporter(name: str) -> SpanExporter:
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter  # noqa: PLC0415

        return ConsoleSpanExporter(out=sys.stderr)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )

    exporter: SpanExporter = OTLPSpanExporter()
    return exporter


def span(name: str, **attributes: str | int | bool) -> AbstractContextManager[Any]:
    """A span around a block; nothing where spans are off.

    Args:
        name: What is done.
        attributes: About it; no secrets.
    """
    if _State.tracer is None:
        return _NO_SPAN
    named = {f"authsvc.{key}": value for key, value in attributes.items()}
    found: AbstractContextManager[Any] = _State.tracer.start_as_current_span(
        name, attributes=named, record_exception=False
    )
    return found


def request_span(
    method: str, headers: list[tuple[bytes, bytes]], request_id: str
) -> AbstractContextManager[Any]:
    """A span of an HTTP request, whose parent is the caller's; None where spans are off.

    ``finish_request`` names it once the route is known. Its names are those of OpenTelemetry's
    semantic conventions for HTTP servers.

    Args:
        method: Such as GET.
        headers: As ASGI has them; ``traceparent`` and ``tracestate`` are read.
        request_id: As the answer's ``X-Request-Id`` and the log have it.
    """
    if _State.tracer is None:
        return _NO_SPAN
    carried = {
        name.decode("ascii"): value.decode("latin-1")
        for name, value in headers
        if name in {b"traceparent", b"tracestate"}
    }
    found: AbstractContextManager[Any] = _State.tracer.start_as_current_span(
        method,
        context=_State.propagator.extract(carried),
        kind=_State.trace.SpanKind.SERVER,
        attributes={"http.request.method": method, "authsvc.request_id": request_id},
        record_exception=False,
    )
    return found


def finish_request(found: Any | None, method: str, route: str, status: int) -> None:
    """Say of a request's span what is known at its end."""
    if found is None:
        return
    found.update_name(f"{method} {route}")
    found.set_attribute("http.route", route)
    found.set_attribute("http.response.status_code", status)
    if status >= 500:  # noqa: PLR2004 - the semantic conventions: a client's mistake is no error
        found.set_status(_State.trace.Status(_State.trace.StatusCode.ERROR))


def trace_id() -> str | None:
    """The current trace, for log lines; None where spans are off."""
    if _State.tracer is None:
        return None
    context = _State.trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None


def statement_span(statement: str, system: str) -> AbstractContextManager[Any]:
    """A span around a statement that goes to the driver itself; nothing where spans are off.

    Args:
        statement: Its text, without parameters.
        system: ``sqlite`` or ``postgresql``.
    """
    if _State.tracer is None:
        return _NO_SPAN
    found: AbstractContextManager[Any] = _State.tracer.start_as_current_span(
        **_named(statement, system), record_exception=False
    )
    return found


def _named(statement: str, system: str) -> dict[str, Any]:
    return {
        "name": statement.split(None, 1)[0].upper() if statement.strip() else "SQL",
        "kind": _State.trace.SpanKind.CLIENT,
        "attributes": {"db.system.name": system, "db.query.text": statement},
    }


def trace_database(engine: Engine, system: str) -> None:
    """Record a span for each statement of an engine, without its parameters, if spans are on.

    Args:
        engine: The synchronous one, on which events are.
        system: ``sqlite`` or ``postgresql``.
    """
    if _State.tracer is None:
        return

    @event.listens_for(engine, "before_cursor_execute")
    def _begin(
        _connection: Any, _cursor: Any, statement: str, _values: Any, context: Any, *_: Any
    ) -> None:
        if context is None:
            return
        context.authsvc_span = _State.tracer.start_span(**_named(statement, system))

    def _end(context: Any, *, failed: bool) -> None:
        found = getattr(context, "authsvc_span", None)
        if found is not None:
            context.authsvc_span = None
            if failed:
                found.set_status(_State.trace.Status(_State.trace.StatusCode.ERROR))
            found.end()

    @event.listens_for(engine, "after_cursor_execute")
    def _done(
        _connection: Any, _cursor: Any, _statement: str, _values: Any, context: Any, *_: Any
    ) -> None:
        _end(context, failed=False)

    @event.listens_for(engine, "handle_error")
    def _failed(found: Any) -> None:
        _end(found.execution_context, failed=True)
