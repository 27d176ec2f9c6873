"""What an app developer may rely on."""

from __future__ import annotations

import inspect
import subprocess
import sys

import authsvc.errors
from authsvc import rpc

PUBLIC = [
    "AsyncClient",
    "Backlogged",
    "CallMiddleware",
    "Client",
    "CredentialSource",
    "DeadlineExceeded",
    "Disconnected",
    "Expired",
    "Future",
    "Headers",
    "Login",
    "Middleware",
    "NoResponder",
    "NotAuthenticated",
    "Outgoing",
    "PayloadTooLarge",
    "Peer",
    "PermissionDenied",
    "Proceed",
    "ProceedCall",
    "RemoteError",
    "Request",
    "Response",
    "ResponseStream",
    "Retry",
    "Router",
    "RpcError",
    "Service",
    "SyncFuture",
    "SyncPeer",
    "SyncResponseStream",
    "TraceContext",
    "current_trace",
    "log_calls",
    "log_requests",
    "run",
]


def test_the_public_names_are_these() -> None:
    assert rpc.__all__ == sorted(PUBLIC)
    for name in PUBLIC:
        assert inspect.getdoc(getattr(rpc, name)), name


def test_every_error_of_a_call_can_be_imported_from_here() -> None:
    errors = {
        name
        for name, value in vars(authsvc.errors).items()
        if inspect.isclass(value) and issubclass(value, authsvc.errors.RpcError)
    }
    assert errors <= set(rpc.__all__)


def test_the_signatures_are_those_of_the_contract() -> None:
    call = inspect.signature(rpc.Peer.call).parameters
    assert list(call) == [
        "self", "target", "method", "json", "content", "headers", "timeout", "idempotent"
    ]  # fmt: skip
    assert (call["method"].default, call["timeout"].default) == ("POST", 30.0)
    submit = list(inspect.signature(rpc.Peer.submit).parameters)
    assert submit == [
        "self", "target", "method", "json", "content", "headers", "expires", "timeout"
    ]  # fmt: skip
    assert {"offline", "ordered", "allow"} <= set(inspect.signature(rpc.Service).parameters)
    assert "methods" in inspect.signature(rpc.Service.on_request).parameters


def test_importing_it_brings_nothing_of_the_service() -> None:
    code = (
        "import sys, authsvc.rpc; "
        "bad = {'fastapi','sqlmodel','sqlalchemy','pydantic','uvicorn','typer','jwt','uvloop'};"
        "found = bad & set(sys.modules); assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
