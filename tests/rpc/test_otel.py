"""OpenTelemetry: spans of calls and handlers, joined across the two sides."""

# ruff: noqa: ARG002, FBT001, FBT002, PLR0917  the signatures are OpenTelemetry's

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TracerProvider,
)

from authsvc.rpc import AsyncClient, Service, otel
from tests.rpc.conftest import People

_ids = itertools.count(1)


class RecordedSpan(NonRecordingSpan):
    """A span of OpenTelemetry's interface that keeps what it was told."""

    def __init__(self, name: str, context: Any, kind: SpanKind, attributes: Any) -> None:
        parent = trace.get_current_span(context).get_span_context()
        trace_id = parent.trace_id if parent.is_valid else 0xABC + next(_ids)
        super().__init__(SpanContext(trace_id, next(_ids), False, TraceFlags(1)))  # noqa: FBT003
        self.name, self.kind, self.parent = name, kind, parent
        self.attributes = dict(attributes)
        self.errors: list[BaseException] = []
        self.status = StatusCode.UNSET
        self.ended = False

    def set_attribute(self, key: str, value: Any) -> None:
        self.attributes[key] = value

    def set_status(self, status: Any, description: str | None = None) -> None:
        self.status = status.status_code if isinstance(status, Status) else status

    def record_exception(self, exception: BaseException, *_: Any, **__: Any) -> None:
        self.errors.append(exception)

    def is_recording(self) -> bool:
        return not self.ended

    def end(self, end_time: int | None = None) -> None:
        self.ended = True


class Recorder(Tracer, TracerProvider):
    """A tracer that keeps its spans."""

    def __init__(self) -> None:
        self.spans: list[RecordedSpan] = []

    def get_tracer(self, *_: Any, **__: Any) -> Tracer:
        return self

    def start_span(
        self,
        name: str,
        context: Any = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Any = None,
        links: Sequence[Any] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> RecordedSpan:
        self.spans.append(RecordedSpan(name, context, kind, attributes))
        return self.spans[-1]

    @contextmanager
    def start_as_current_span(  # type: ignore[override]
        self, name: str, *_: Any, kind: SpanKind, attributes: Any, **__: Any
    ) -> Iterator[RecordedSpan]:
        span = self.start_span(name, kind=kind, attributes=attributes)
        with trace.use_span(span, end_on_exit=True):
            yield span


async def test_spans_of_both_sides_are_one_trace(people: People) -> None:
    recorder = Recorder()
    bob, carol = await people.client("bob"), await people.client("carol")
    first = Service("first", middleware=[otel.server_spans(recorder)])
    second = Service("second", middleware=[otel.server_spans(recorder)])

    @first.on_request("/via")
    async def via() -> Any:
        # A client without spans of its own: the context goes on all the same.
        return (await bob.peer(carol.username, "second").call("/fails")).status

    @second.on_request("/fails")
    async def fails() -> None:
        raise ValueError("reason")

    await people.serve(first, bob)
    await people.serve(second, carol)
    creds = people.kit.user_creds(people.name("alice"))
    alice = await people.made(AsyncClient, creds, middleware=[otel.client_spans(recorder)])
    assert (await alice.peer(bob.username, "first").call("/via?q=1")).json() == 500
    call, one, two = recorder.spans
    assert [span.name for span in recorder.spans] == ["first/via", "first/via", "second/fails"]
    assert (call.kind, one.kind, two.kind) == (SpanKind.CLIENT, SpanKind.SERVER, SpanKind.SERVER)
    assert one.parent.span_id == call.get_span_context().span_id
    assert two.parent.trace_id == one.parent.trace_id == call.get_span_context().trace_id
    assert one.attributes["authsvc.requester"] == alice.username
    assert call.attributes["authsvc.responder"] == bob.username
    assert (one.status, two.status) == (StatusCode.UNSET, StatusCode.ERROR)
    assert [type(error) for error in two.errors] == [ValueError]
    assert call.attributes["http.response.status_code"] == 200
    assert all(span.ended for span in recorder.spans)
    assert (await alice.peer(bob.username, "first").call("/none")).status == 404
    assert recorder.spans[-2].status is StatusCode.ERROR
    assert recorder.spans[-1].status is StatusCode.UNSET  # the requester's mistake


def test_without_opentelemetry_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    for make in (otel.server_spans, otel.client_spans):
        with pytest.raises(RuntimeError, match=r"pip install authsvc\[otel\]"):
            make()


def test_importing_the_library_imports_nothing_of_it() -> None:
    code = "import sys, authsvc.rpc.otel; assert 'opentelemetry' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
