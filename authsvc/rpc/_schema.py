"""What an app says of itself: its endpoints, and JSON Schemas of what they take and return.

The document is described in docs/wire.md. JSON Schema comes from pydantic where that is
installed; without it only the plain types have one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, partial
from typing import Any, Literal, NamedTuple, get_origin

from authsvc.errors import InvalidMessage
from authsvc.rpc._messages import Request, Response
from authsvc.rpc._routes import Handler, hints, parameters
from authsvc.rpc._streaming import is_generator, wants_stream
from authsvc.rpc._threads import in_thread

__all__ = ["PREFIX", "SCHEMA_PATH", "Schema", "read_description"]

PREFIX = "/.well-known/authsvc/"
"""What paths begin with that the library answers; no handler can stand there."""

SCHEMA_PATH = f"{PREFIX}schema"
"""Where an app describes itself."""

_VERSION = 1
_UNKNOWN = (Request, Response, type(None), inspect.Signature.empty)
_PLAIN: tuple[tuple[Any, dict[str, Any]], ...] = (
    (dict, {"type": "object"}),
    (list, {"type": "array"}),
    (int, {"type": "integer"}),
    (float, {"type": "number"}),
    (bool, {"type": "boolean"}),
    (Any, {}),
)
Mode = Literal["validation", "serialization"]


class Endpoint(NamedTuple):
    """A handler, as it was registered."""

    path: str
    methods: tuple[str, ...]
    allow: Callable[[Request], Any] | None
    about: Callable[[], dict[str, Any]]


class Schema:
    """The description of one app.

    Args:
        app: The app's name.
    """

    def __init__(self, app: str) -> None:
        self._app = app
        self.endpoints: list[Endpoint] = []

    def add(
        self,
        path: str,
        methods: tuple[str, ...],
        allow: Callable[[Request], Any] | None,
        handler: Handler,
        local_names: dict[str, Any],
    ) -> None:
        """Describe a handler too.

        Args:
            path: Where it is called.
            methods: How.
            allow: Who may call it, and know of it.
            handler: What its docstring and annotations are taken from.
            local_names: Names these may use besides those of its module.
        """
        # Looked at when somebody asks, and once.
        takes = [hint for _, hint in parameters(handler, local_names)]
        about = cache(partial(_about, handler, takes, hints(handler, local_names).get("return")))
        self.endpoints.append(Endpoint(path, methods, allow, about))

    async def answer(self, request: Request) -> Response:
        """The document, as far as the requester may call what it describes."""
        known = [
            endpoint
            for endpoint in self.endpoints
            if endpoint.allow is None or await _allowed(endpoint.allow, request)
        ]

        def document() -> list[dict[str, Any]]:
            return [
                {"path": path, "methods": sorted(methods)} | about()
                for path, methods, _, about in known
            ]

        # The first time, pydantic may have to be imported, and large models be looked through.
        endpoints = await in_thread(document)
        return Response({"authsvc": _VERSION, "app": self._app, "endpoints": endpoints})


def read_description(response: Response) -> dict[str, Any]:
    """The document that an app answered.

    Raises:
        RemoteError: It answered with an error status.
        InvalidMessage: It answered something else.
    """
    try:
        found = response.raise_for_status().json()
    except ValueError:
        found = None
    if not (isinstance(found, dict) and isinstance(found.get("endpoints"), list)):
        raise InvalidMessage("the app answered, but not with a description of itself")
    return found


async def _allowed(rule: Callable[[Request], Any], request: Request) -> bool:
    try:
        answer = rule(request)
        return (await answer if inspect.isawaitable(answer) else answer) is True
    except Exception:  # noqa: BLE001  it was made for requests of another path
        return False


def _about(handler: Handler, takes: list[Any], returns: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while isinstance(handler, partial):
        handler = handler.func
    if text := inspect.getdoc(handler):
        found["description"] = text
    if request := next(filter(None, (_body(hint, "validation") for hint in takes)), None):
        found["request"] = request
    if not is_generator(handler) and (response := _body(returns, "serialization")):
        found["response"] = response
    return found


def _body(hint: Any, mode: Mode) -> dict[str, Any] | None:
    """What a body is like, as far as the hint tells; None if it does not."""
    if hint is str or hint is bytes or wants_stream(hint):
        text = "text/plain; charset=utf-8" if hint is str else "application/octet-stream"
        return {"content_type": text}
    if hint is None or isinstance(hint, str):
        return None
    if isinstance(hint, type) and issubclass(hint, _UNKNOWN):
        return None
    schema = _json_schema(hint, mode)
    return None if schema is None else {"content_type": "application/json", "schema": schema}


def _json_schema(hint: Any, mode: Mode) -> dict[str, Any] | None:
    for plain, schema in _PLAIN:
        if hint is plain:
            return schema
    try:
        from pydantic import TypeAdapter  # noqa: PLC0415  optional
    except ImportError:
        origin = get_origin(hint)
        return next((schema for plain, schema in _PLAIN if origin is plain), None)
    try:
        return TypeAdapter(hint).json_schema(mode=mode)
    except Exception:  # noqa: BLE001  whatever is no type of JSON: a service, a stream
        return None
