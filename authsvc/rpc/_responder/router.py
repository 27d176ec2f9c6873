"""Router: handlers that are collected in one place and answered by a service elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, NamedTuple, TypeVar

from authsvc.rpc._messages.message import travelling
from authsvc.rpc._responder.reserved import PREFIX, is_reserved
from authsvc.rpc._responder.routes import Allow, Handler, route_methods

__all__ = ["Router", "calling_frame", "route_path"]

_LIBRARY = "authsvc.rpc."
_H = TypeVar("_H", bound=Handler)


class Entry(NamedTuple):
    """A handler that a router collected, and how it was asked for."""

    path: str
    methods: tuple[str, ...]
    allow: Allow
    handler: Handler
    local_names: dict[str, Any]
    limit: int | None = None
    cancellable: bool = True


class Router:
    """Handlers of one part of an app; ``Service.include_router`` answers them.

    It may be included in several services, or in one under several prefixes.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def on_request(
        self,
        path: str,
        *,
        methods: str | Iterable[str] = ("POST",),
        allow: Allow = None,
        limit: int | None = None,
        cancellable: bool = True,
    ) -> Callable[[_H], _H]:
        """Collect a handler; the arguments are those of ``Service.on_request``.

        Raises:
            ValueError: Path or methods are none.
        """
        caller = calling_frame()
        names = allow if allow is None or callable(allow) or isinstance(allow, str) else [*allow]

        def register(handler: _H) -> _H:
            found = (route_path(path), route_methods(methods))
            local_names = dict(caller.f_locals)
            entry = Entry(*found, names, handler, local_names, limit, cancellable)
            self.entries.append(entry)
            return handler

        return register

    def include_router(self, router: Router, *, prefix: str = "") -> None:
        """Collect what another router collected, each path with the prefix before it."""
        for entry in list(router.entries):
            path = route_path(prefix.rstrip("/") + entry.path)
            self.entries.append(entry._replace(path=path))


def route_path(path: str) -> str:
    """A handler's path as requests carry it.

    Raises:
        ValueError: It has a query, or is the library's own.
    """
    path = travelling(path)
    if "?" in path:
        raise ValueError("a path has no query; a handler finds it as request.query")
    if is_reserved(path):
        raise ValueError(f"what begins with {PREFIX} is answered by the library itself")
    return path


def calling_frame() -> FrameType:
    """Whoever called into the library: models may be defined beside a local handler."""
    frame = sys._getframe(1)  # noqa: SLF001
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_LIBRARY):
        frame = frame.f_back
    return frame
