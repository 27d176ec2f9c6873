"""A request that is stored, on its way through the client's middleware to the mailbox."""

from __future__ import annotations

from collections.abc import Sequence

from authsvc.errors import RemoteError
from authsvc.rpc._calls.call import StoredResponses
from authsvc.rpc._calls.futures import Future
from authsvc.rpc._messages.message import Response
from authsvc.rpc._messages.middleware import CallMiddleware, Outgoing, layered
from authsvc.rpc._wire.frames import call_line

__all__ = ["store"]


async def store(
    mailbox: StoredResponses,
    middleware: Sequence[CallMiddleware],
    call: Outgoing,
    expires: float,
) -> Future:
    """Submit a request, and return the Future of the last one that the middleware let through.

    Args:
        mailbox: Who submits it.
        middleware: The client's, the first outermost.
        call: The request.
        expires: Seconds until it is not handled any more.

    Raises:
        RemoteError: The middleware answered itself.
        RpcError: As ``Peer.submit`` says.
    """
    made: list[Future] = []
    name, app = call.name, call.app

    async def submit(call: Outgoing) -> Response:
        message = (call_line(call.method, call.target), call.headers.pairs, call.content)
        made.append(await mailbox.submit(name, app, message, expires=expires, timeout=call.timeout))
        return Response(b"", status=202)

    response = await layered(middleware, submit)(call)
    if not made:  # the middleware answered itself
        raise RemoteError(response.status, response.content)
    return made[-1]
