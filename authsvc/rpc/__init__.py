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
from authsvc.rpc._calls.futures import Future
from authsvc.rpc._loops.running import run
from authsvc.rpc._messages.logs import log_calls, log_requests
from authsvc.rpc._messages.message import Headers, Request, Response
from authsvc.rpc._messages.middleware import (
    CallMiddleware,
    Middleware,
    Outgoing,
    Proceed,
    ProceedCall,
)
from authsvc.rpc._messages.trace import TraceContext, current_trace
from authsvc.rpc._requester.client import AsyncClient
from authsvc.rpc._requester.peer import Peer
from authsvc.rpc._requester.retrying import Retry
from authsvc.rpc._responder.router import Router
from authsvc.rpc._service import Service
from authsvc.rpc._session.credentials import CredentialSource, Login
from authsvc.rpc._streams.response import ResponseStream
from authsvc.rpc._sync.client import Client
from authsvc.rpc._sync.future import SyncFuture
from authsvc.rpc._sync.peer import SyncPeer
from authsvc.rpc._sync.transport import SyncResponseStream

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
