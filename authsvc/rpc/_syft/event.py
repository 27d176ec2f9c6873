"""The shapes that a syft-event user knows, over Service and Router."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from authsvc.rpc._messages import message as _messages
from authsvc.rpc._responder.router import Router
from authsvc.rpc._responder.routes import Allow, Handler
from authsvc.rpc._service import Service
from authsvc.rpc._sync.client import Client

__all__ = ["EventRouter", "Response", "SyftEvents"]

_H = TypeVar("_H", bound=Handler)
_EVERY = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")


class Response(_messages.Response):
    """What a handler may return, with syft-event's names for its parts.

    Args:
        body: bytes, or str (sent as UTF-8), or anything JSON can hold.
        status_code: From 200 to 599.
        headers: More headers.

    Raises:
        InvalidMessage: A header can't travel.
        TypeError: The body is nothing that JSON can hold.
    """

    __slots__ = ()

    def __init__(
        self, body: Any = None, status_code: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(body, int(status_code), headers or {})


class EventRouter(Router):
    """A Router whose handlers answer every method, as syft-event's do."""

    def on_request(
        self,
        path: str,
        *,
        methods: str | Iterable[str] = _EVERY,
        allow: Allow = None,
        limit: int | None = None,
        cancellable: bool = True,
    ) -> Callable[[_H], _H]:
        """Collect a handler; see Router.on_request."""
        return super().on_request(
            path, methods=methods, allow=allow, limit=limit, cancellable=cancellable
        )


class SyftEvents(Service):
    """A Service whose handlers answer every method, as syft-event's do.

    It takes requests that were stored while it was away, too. A handler's parameter that is
    annotated ``SyftEvents`` gets the box itself; ``state`` is a place for what handlers share.

    Args:
        app_name: The app's name.
        offline: Whether it takes stored requests; live ones it takes in any case.
        client: A client to answer with, instead of one from SyftBox's configuration.
        options: Service's other arguments.
    """

    def __init__(
        self, app_name: str, *, offline: bool = True, client: Client | None = None, **options: Any
    ) -> None:
        super().__init__(app_name, offline=offline, **options)
        self.client = client
        self.state: dict[str, Any] = {}

    @property
    def app_name(self) -> str:
        """``name``, by the name that syft-event gives it."""
        return self.name

    def on_request(
        self,
        path: str,
        *,
        methods: str | Iterable[str] = _EVERY,
        allow: Allow = None,
        limit: int | None = None,
        cancellable: bool = True,
    ) -> Callable[[_H], _H]:
        """Register a handler; see Service.on_request."""
        return super().on_request(
            path, methods=methods, allow=allow, limit=limit, cancellable=cancellable
        )

    def run_forever(self, url: str | None = None, **credentials: Any) -> None:
        """Answer until SIGINT or SIGTERM; see Service.run.

        On a ``client`` of one's own it answers until that is closed, or until SIGINT.
        """
        if self.client is None:
            self.run(url, **credentials)
            return
        with contextlib.suppress(KeyboardInterrupt):
            self.client.serve(self)
