"""What a service says of itself, in the shapes of the NATS service API.

Source: https://github.com/nats-io/nats-architecture-and-design (adr/ADR-32.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from authsvc.rpc._messages.message import Request, Response
from authsvc.rpc._responder.reserved import reserved

if TYPE_CHECKING:
    from authsvc.rpc._responder.described import Described

__all__ = ["SAMPLING", "EndpointStats", "describe", "ping", "statistics"]

_TYPE = "io.nats.micro.v1."
SAMPLING = 15
"""A request is timed when these bits of its number are 1: the first, the seventeenth and so on."""

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(slots=True)
class EndpointStats:
    """What was counted of one handler.

    Args:
        name: The handler's name, as far as the NATS service API allows its characters.
        path: Its path.
        methods: Its methods.
        num_requests: Requests that it got.
        num_errors: Requests that it raised on.
        samples: Requests that were timed, one of every 16: a clock for each would cost all.
        sampled_time: Nanoseconds from their start to their end, together.
    """

    name: str
    path: str
    methods: tuple[str, ...]
    num_requests: int = 0
    num_errors: int = 0
    samples: int = 0
    sampled_time: int = 0

    @property
    def average(self) -> int:
        """Nanoseconds that a request takes, by the samples."""
        return self.sampled_time // max(1, self.samples)

    def took(self, nanoseconds: int) -> None:
        """Note how long a sample took."""
        self.samples += 1
        self.sampled_time += nanoseconds

    @classmethod
    def of(cls, handler: object, path: str, methods: tuple[str, ...]) -> EndpointStats:
        """Nothing counted yet."""
        found = getattr(handler, "__name__", type(handler).__name__)
        return cls(_NOT_IN_A_NAME.sub("_", found) or "handler", path, methods)


def ping(service: Described) -> dict[str, Any]:
    """The answer to PING: which instance of which service this is."""
    return _identity(service) | {"type": _TYPE + "ping_response"}


def describe(service: Described) -> dict[str, Any]:
    """The answer to INFO: its handlers."""
    return _identity(service) | {
        "type": _TYPE + "info_response",
        "description": service.description,
        "endpoints": [
            _endpoint(service, one) | {"metadata": {"path": one.path, "methods": _list(one)}}
            for one in service.endpoints
        ],
    }


def statistics(service: Described) -> dict[str, Any]:
    """The answer to STATS: what was counted since it was made.

    The text of a handler's exception is not in it.
    """
    return _identity(service) | {
        "type": _TYPE + "stats_response",
        "started": service.started,
        "endpoints": [
            _endpoint(service, one)
            | {
                "num_requests": one.num_requests,
                "num_errors": one.num_errors,
                "last_error": "500:the responder failed" if one.num_errors else "",
                "processing_time": one.average * one.num_requests,
                "average_processing_time": one.average,
                "data": {"path": one.path, "methods": _list(one)},
            }
            for one in service.endpoints
        ],
    }


@reserved("health")
def _health(service: Described, _request: Request) -> Response:
    state = {"status": "ok", "in_flight": service.in_flight, "counted": service.stats.as_dict()}
    return Response(ping(service) | state)


@reserved("info")
def _info(service: Described, _request: Request) -> Response:
    return Response(describe(service))


@reserved("stats")
def _stats(service: Described, _request: Request) -> Response:
    return Response(statistics(service))


def _identity(service: Described) -> dict[str, Any]:
    return {
        "name": service.name,
        "id": service.id,
        "version": service.version,
        "metadata": {},
    }


def _endpoint(service: Described, one: EndpointStats) -> dict[str, Any]:
    return {"name": one.name, "subject": service.subject, "queue_group": service.queue}


def _list(one: EndpointStats) -> str:
    return ",".join(one.methods)
