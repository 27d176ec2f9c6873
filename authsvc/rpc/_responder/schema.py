"""What an app says of itself: its endpoints, and JSON Schemas of what they take and return.

The document is described in docs/wire.md. JSON Schema comes from pydantic where that is
installed; without it only the plain types have one.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from functools import partial
from typing import Any, Literal, get_origin

from authsvc.errors import InvalidMessage
from authsvc.rpc._messages.message import Request, Response
from authsvc.rpc._responder.reserved import PREFIX
from authsvc.rpc._responder.routes import Route
from authsvc.rpc._responder.streaming import is_generator, wants_stream

__all__ = ["SCHEMA_PATH", "SCHEMA_VERSION", "Schema", "read_description"]

SCHEMA_PATH = f"{PREFIX}schema"
"""Where an app describes itself."""

SCHEMA_VERSION = 1
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


class Schema:
    """The description of one app; each handler is looked at once.

    Args:
        app: The app's name.
    """

    def __init__(self, app: str) -> None:
        self._app = app
        self._known: dict[int, dict[str, Any]] = {}

    def document(self, endpoints: Iterable[tuple[str, list[str], Route]]) -> dict[str, Any]:
        """The document.

        Args:
            endpoints: Path, methods and handler of each; they stay for as long as this does.
        """
        found = []
        for path, methods, route in endpoints:
            if id(route) not in self._known:
                self._known[id(route)] = _about(route)
            found.append({"path": path, "methods": sorted(methods)} | self._known[id(route)])
        return {"authsvc": SCHEMA_VERSION, "app": self._app, "endpoints": found}


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


def _about(route: Route) -> dict[str, Any]:
    found: dict[str, Any] = {}
    handler = route.handler
    while isinstance(handler, partial):
        handler = handler.func
    if text := inspect.getdoc(handler):
        found["description"] = text
    bodies = (_body(hint, "validation") for _, hint in route.takes)
    if request := next(filter(None, bodies), None):
        found["request"] = request
    if not is_generator(handler) and (response := _body(route.returns, "serialization")):
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
