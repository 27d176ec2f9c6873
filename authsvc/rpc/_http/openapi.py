"""What an HTTP application says of itself in OpenAPI, as the description that an app answers.

Sources: OpenAPI 3.0 and 3.1, the Paths Object and the Operation Object; docs/wire.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from authsvc.rpc._messages.message import Request, Response
from authsvc.rpc._responder.app import problem
from authsvc.rpc._responder.schema import SCHEMA_VERSION
from authsvc.rpc._wire.frames import RequestFrame

__all__ = ["asking", "described"]

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_REFERENCE = "#/components/schemas/"
_JSON = "application/json"
_OK = 200
_MAX_BYTES = 8 << 20
_PASSED_ON = {401, 403, 404}


def asking(request: Request, path: str) -> Request:
    """The same requester asking for the OpenAPI document."""
    headers = (("accept", _JSON),)
    frame = RequestFrame(request.id, request.sent, request.deadline, "GET", path, headers, b"")
    found = Request(request.requester, request.app, frame, 0.0)
    found.expires = request.expires
    return found


def described(app: str, answer: Response, permits: Callable[[str, str], bool]) -> Response:
    """The description of an app, from what its OpenAPI path answered.

    Args:
        app: The app's name.
        answer: The answer.
        permits: Whether a method of a path may be called.
    """
    if answer.status != _OK:
        status = answer.status if answer.status in _PASSED_ON else 404
        return problem(status, "the app does not describe itself")
    try:
        document = json.loads(answer.content) if len(answer.content) <= _MAX_BYTES else None
        endpoints = list(_endpoints(document, permits))
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return problem(404, "the app does not describe itself in OpenAPI")
    return Response({"authsvc": SCHEMA_VERSION, "app": app, "endpoints": endpoints})


def _endpoints(document: Any, permits: Callable[[str, str], bool]) -> Iterator[dict[str, Any]]:
    schemas = document.get("components", {}).get("schemas", {})
    for path, item in document["paths"].items():
        for method in _METHODS:
            operation = item.get(method)
            if operation is not None and permits(method.upper(), path):
                shared = item.get("parameters", [])
                yield _endpoint(path, method.upper(), operation, shared, schemas)


def _endpoint(
    path: str, method: str, operation: Any, shared: list[Any], schemas: dict[str, Any]
) -> dict[str, Any]:
    found: dict[str, Any] = {"path": path, "methods": [method]}
    if text := operation.get("description") or operation.get("summary"):
        found["description"] = str(text)
    parameters = [_parameter(one, schemas) for one in (*shared, *operation.get("parameters", []))]
    if parameters := [one for one in parameters if one is not None]:
        found["parameters"] = parameters
    if body := _body(operation.get("requestBody", {}), schemas):
        found["request"] = body
    answers = operation.get("responses", {})
    good = sorted(status for status in answers if status.startswith("2"))
    if good and (body := _body(answers[good[0]], schemas)):
        found["response"] = body
    return found


def _parameter(one: Any, schemas: dict[str, Any]) -> dict[str, Any] | None:
    if "name" not in one:  # a reference, which OpenAPI's own tools follow
        return None
    found = {"name": one["name"], "in": one["in"], "required": bool(one.get("required"))}
    if "schema" in one:
        found["schema"] = _whole(one["schema"], schemas)
    return found


def _body(body: Any, schemas: dict[str, Any]) -> dict[str, Any] | None:
    content = body.get("content") or {}
    if not content:
        return None
    kind = _JSON if _JSON in content else next(iter(content))
    found: dict[str, Any] = {"content_type": kind}
    if "schema" in content[kind]:
        found["schema"] = _whole(content[kind]["schema"], schemas)
    return found


def _whole(schema: Any, schemas: dict[str, Any]) -> Any:
    """A schema with all that it refers to in ``$defs``, so that it stands alone."""
    needed: dict[str, Any] = {}
    moved = _moved(schema, schemas, needed)
    if needed and isinstance(moved, dict):
        moved["$defs"] = needed
    return moved


def _moved(value: Any, schemas: dict[str, Any], needed: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return [_moved(one, schemas, needed) for one in value]
    if not isinstance(value, dict):
        return value
    found = {name: _moved(one, schemas, needed) for name, one in value.items() if name != "$ref"}
    reference = value.get("$ref")
    if isinstance(reference, str) and reference.startswith(_REFERENCE):
        name = reference.removeprefix(_REFERENCE)
        found["$ref"] = f"#/$defs/{name}"
        if name in schemas and name not in needed:
            needed[name] = {}  # it may refer to itself
            needed[name] = _moved(schemas[name], schemas, needed)
    elif reference is not None:
        found["$ref"] = _moved(reference, schemas, needed)
    return found
