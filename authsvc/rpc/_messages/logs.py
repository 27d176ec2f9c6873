"""Structured logs: stdlib logging under ``authsvc.rpc``, with fields in each record.

A formatter finds them as attributes of the record. Bodies, queries, header values and credentials
are in none of them.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from authsvc.rpc._messages.message import Request, Response
from authsvc.rpc._messages.middleware import Outgoing, Proceed, ProceedCall
from authsvc.rpc._messages.trace import current_trace, incoming

__all__ = ["fields", "log", "log_calls", "log_requests"]

log = logging.getLogger("authsvc.rpc")


def fields(request: Request) -> dict[str, Any]:
    """What a record of a request carries in ``extra=``."""
    # Once its handler is left, the context is no longer the current one.
    trace = current_trace() or incoming(request.pairs)
    return {
        "requester": request.requester,
        "app": request.app,
        "method": request.method,
        "path": request.path,
        "request_id": request.id,
        "trace_id": trace.trace_id if trace is not None else "",
    }


async def log_requests(request: Request, proceed: Proceed) -> Response:
    """A service's middleware: one record at INFO for each request, with status and seconds."""
    started = time.perf_counter()
    status: int | str = "raised"
    try:
        response = await proceed(request)
        status = response.status
    finally:
        seconds = time.perf_counter() - started
        log.info(
            "%s %s: %s", request.method, request.path, status,
            extra=fields(request) | {"status": status, "seconds": seconds},
        )  # fmt: skip
    return response


async def log_calls(call: Outgoing, proceed: ProceedCall) -> Response:
    """A client's middleware: one record at INFO for each call, with status and seconds."""
    started = time.perf_counter()
    status: int | str = "cancelled"
    try:
        response = await proceed(call)
        status = response.status
    except Exception as error:
        status = type(error).__name__
        raise
    finally:
        trace = current_trace()
        extra = {
            "responder": call.name,
            "app": call.app,
            "method": call.method,
            "path": call.path,
            "status": status,
            "seconds": time.perf_counter() - started,
            "trace_id": trace.trace_id if trace is not None else "",
        }
        log.info("%s %s of %s: %s", call.method, call.path, call.app, status, extra=extra)
    return response
