"""Spans of the service, as a collector gets them; and nothing at all unless it is asked for."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)

from authsvc.errors import StartRefused
from authsvc.server import tracing
from tests.cli.test_up import FREE_PORTS, Up, eventually

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP, as OpenTelemetry's collector does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taker)
        self.spans: list[Any] = []
        self.services: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]


class _Taker(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        body = self.rfile.read(int(self.headers["Content-Length"]))
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            said = {item.key: item.value.string_value for item in resource.resource.attributes}
            self.server.services.add(said["service.name"])
            for scope in resource.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def attributes(span: Any) -> dict[str, Any]:
    return {item.key: item.value.string_value or item.value.int_value for item in span.attributes}


def test_a_request_is_a_span_in_the_caller_s_trace(collector: Collector, tmp_path: Path) -> None:
    up = Up(
        *("--data-dir", str(tmp_path), *FREE_PORTS, "--dev-login"),
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "50"},
    )
    try:
        key = json.loads((tmp_path / "context.json").read_text())["api_key"]
        headers = {
            "traceparent": f"00-{TRACE}-{PARENT}-01",
            "X-Request-Id": "request-1234",
            "Authorization": f"Bearer {key}",
        }
        body = {"username": "alice@example.com"}
        made = httpx.post(f"{up.url}/v1/admin/users", headers=headers, json=body)
        assert made.status_code == 201, made.text
        httpx.get(f"{up.url}/none", headers=headers)
        eventually(lambda: bool(collector.named("GET none")))
        (request,) = collector.named("POST /v1/admin/users")
        assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, PARENT)
        told = attributes(request)
        assert told["http.response.status_code"] == 201
        assert told["authsvc.request_id"] == "request-1234"
        inner = [span for span in collector.spans if span.parent_span_id == request.span_id]
        assert {"INSERT", "SELECT"} <= {span.name for span in inner}
        eventually(lambda: bool(collector.named("push account JWT")))
        assert collector.services == {"authsvc"}
        text = str(collector.spans)
        assert "alice@example.com" not in text
        assert key not in text
    finally:
        assert up.stop() == 0
    lines = (tmp_path / "log" / "authsvc.log").read_text().splitlines()
    logged = [json.loads(line) for line in lines]
    traced = [line for line in logged if line.get("request_id") == "request-1234"]
    assert {line["trace_id"] for line in traced} == {TRACE}


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, None),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"}, None),
    ],
)
def test_the_environment_decides(environ: dict[str, str], name: str | None) -> None:
    assert tracing.exporter_name(environ) == name


def test_what_it_does_not_know_it_refuses() -> None:
    with pytest.raises(StartRefused, match="zipkin"):
        tracing.configure({"OTEL_TRACES_EXPORTER": "zipkin"})


def test_without_opentelemetry_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    assert not tracing.configure({})
    with pytest.raises(StartRefused, match=r"OTEL_TRACES_EXPORTER.*authsvc\[otel\]"):
        tracing.configure({"OTEL_TRACES_EXPORTER": "otlp"})


def test_off_it_imports_no_sdk_and_gives_nothing() -> None:
    code = (
        "import sys; from authsvc.server import app, tracing; tracing.configure({});"
        "assert tracing.trace_id() is None;"
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
