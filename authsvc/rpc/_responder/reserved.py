"""Paths that the library itself answers: ``/.well-known/authsvc/...``.

    @reserved("health")
    def health(service: Described, request: Request) -> Response: ...

They are looked up only where the service has no handler for the path, so that handlers pay
nothing for them; and after the service's ``allow``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from authsvc.rpc._messages.message import Request, Response

if TYPE_CHECKING:
    from authsvc.rpc._responder.described import Described

__all__ = ["PREFIX", "answer_reserved", "is_reserved", "reserved"]

PREFIX = "/.well-known/authsvc/"

Answer = Callable[["Described", Request], Response]
_A = TypeVar("_A", bound=Answer)
_answers: dict[str, Answer] = {}


def reserved(name: str) -> Callable[[_A], _A]:
    """Register the answer for ``/.well-known/authsvc/<name>``, by GET."""

    def register(answer: _A) -> _A:
        if name in _answers:
            raise ValueError(f"{PREFIX}{name} is taken")
        _answers[name] = answer
        return answer

    return register


def is_reserved(path: str) -> bool:
    """Whether no handler may be registered for the path."""
    return path.startswith(PREFIX)


def answer_reserved(service: Described, request: Request) -> Response | None:
    """The library's answer; None if the path is none of its own."""
    path = request.path
    answer = _answers.get(path[len(PREFIX) :]) if is_reserved(path) else None
    if answer is None:
        return None
    if request.method != "GET":
        return Response({"detail": "no such method"}, status=405, headers={"allow": "GET"})
    return answer(service, request)
