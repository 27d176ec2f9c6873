"""What syft-rpc and syft-event call things, for apps that come from there.

    from authsvc.rpc.syft import Request, SyftEvents

    box = SyftEvents("pingpong")

    @box.on_request("/ping")
    def ping(ping: PingRequest, ctx: Request) -> PongResponse: ...

    box.run_forever()

    future = send(make_url("bob@example.com", "pingpong", "ping"), body={"msg": "hello"})
    future.wait(timeout=60).json()

Thin names over ``authsvc.rpc``, which new code uses directly; docs/migrating.md has both side by
side.
"""

from authsvc.errors import DeadlineExceeded, RpcError
from authsvc.rpc._messages.message import Request
from authsvc.rpc._syft.event import EventRouter, Response, SyftEvents
from authsvc.rpc._syft.response import SyftResponse, SyftStatus
from authsvc.rpc._syft.rpc import SyftBulkFuture, SyftFuture, broadcast, make_url, send
from authsvc.rpc._syftbox.url import SyftUrl

SyftError = RpcError
SyftTimeoutError = DeadlineExceeded

__all__ = [
    "EventRouter",
    "Request",
    "Response",
    "SyftBulkFuture",
    "SyftError",
    "SyftEvents",
    "SyftFuture",
    "SyftResponse",
    "SyftStatus",
    "SyftTimeoutError",
    "SyftUrl",
    "broadcast",
    "make_url",
    "send",
]
