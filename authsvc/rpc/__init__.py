"""What an app developer imports: call other people's apps over NATS, and answer them.

service = Service("pingpong")

@service.on_request("/ping")
async def ping(request: Request) -> dict:
    return {"pong": request.json()["n"]}

async with AsyncClient() as client:
    bob = client.peer("bob@example.com", "pingpong")
    response = await bob.call("/ping", json={"n": 1}, timeout=5)

with Client() as client:
    response = client.peer("bob@example.com", "pingpong").call("/ping", json={"n": 1}, timeout=5)
"""

from authsvc.errors import (
    Backlogged,
    DeadlineExceeded,
    Disconnected,
    Expired,
    NoResponder,
    NotAuthenticated,
    PayloadTooLarge,
    PermissionDenied,
    RemoteError,
    RpcError,
)
from authsvc.rpc._client import AsyncClient
from authsvc.rpc._credentials import CredentialSource, Login
from authsvc.rpc._futures import Future
from authsvc.rpc._logs import log_calls, log_requests
from authsvc.rpc._messages import Headers, Request, Response
from authsvc.rpc._middleware import CallMiddleware, Middleware, Outgoing, Proceed, ProceedCall
from authsvc.rpc._peer import Peer
from authsvc.rpc._response_stream import ResponseStream
from authsvc.rpc._retrying import Retry
from authsvc.rpc._router import Router
from authsvc.rpc._running import run
from authsvc.rpc._service import Service
from authsvc.rpc._sync import Client
from authsvc.rpc._sync_future import SyncFuture
from authsvc.rpc._sync_peer import SyncPeer
from authsvc.rpc._sync_transport import SyncResponseStream
from authsvc.rpc._trace import TraceContext, current_trace

__all__ = [
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
