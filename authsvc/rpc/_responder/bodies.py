"""What a handler's parameters get out of a request, by their type hints."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import is_dataclass
from functools import cache, partial
from typing import Any, Union, get_args, get_origin

from authsvc.rpc._messages.message import Request, Response
from authsvc.rpc._messages.payloads import adapter
from authsvc.rpc._responder.streaming import wants_stream

__all__ = ["Extractor", "Refused", "extractor", "whole"]

Extractor = Callable[[Request], Any]

# What JSON brings by itself.
_UNCHECKED: tuple[tuple[Any, ...], ...] = ((), (Any,), (str, Any), (Any, Any))
_VALIDATORS = {"value_error", "assertion_error"}


class Refused(Exception):
    """The body is not what the handler asks for.

    Args:
        response: What to answer.
    """

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def extractor(name: str, hint: Any, service: Any) -> Extractor:
    """What a parameter gets.

    Args:
        name: Its name, for messages.
        hint: Its type.
        service: What it gets if it asks for the class of this.

    Raises:
        TypeError: It asks for something that a request has not.
    """
    for known, found in _SIMPLE:
        if hint is known:
            return found
    if isinstance(hint, type) and hint is not object and isinstance(service, hint):
        return lambda _request: service
    if wants_stream(hint):
        return _pieces
    kind = get_origin(hint) or hint
    if kind in {dict, list} and get_args(hint) in _UNCHECKED:
        return partial(_json_of, kind)
    if kind in {dict, list} or hasattr(hint, "model_validate_json"):
        return partial(_valid, _adapter(name, hint))
    if is_dataclass(hint) and isinstance(hint, type):
        return _dataclass(name, hint)
    what = f"{hint!r}" + (" (a Union)" if get_origin(hint) is Union else "")
    raise TypeError(
        f"parameter {name!r}: a handler can ask for Request, dict, list, str, bytes, a pydantic "
        f"model or a dataclass, not {what}"
    )


def whole(request: Request) -> Request:
    """The request itself."""
    return request


def _pieces(request: Request) -> AsyncIterator[bytes]:
    return request.stream()


def _content(request: Request) -> bytes:
    return request.content


def _text(request: Request) -> str:
    try:
        return request.content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(_unprocessable("the body is not UTF-8 text")) from error


def _json(request: Request) -> Any:
    try:
        return request.json()
    except ValueError as error:
        raise Refused(_unprocessable("the body is not JSON")) from error


_SIMPLE = ((Request, whole), (bytes, _content), (str, _text), (Any, _json))


def _json_of(kind: type, request: Request) -> Any:
    value = _json(request)
    if not isinstance(value, kind):
        what = "object" if kind is dict else "array"
        raise Refused(_unprocessable(f"the body is not a JSON {what}"))
    return value


def _dataclass(name: str, hint: type) -> Extractor:
    try:
        return partial(_valid, _adapter(name, hint))
    except TypeError as error:
        if not isinstance(error.__cause__, ImportError):
            raise
    return partial(_built, hint)


def _built(hint: type, request: Request) -> Any:
    """A dataclass where nothing validates: its fields are there, and no others."""
    try:
        return hint(**_json_of(dict, request))
    except TypeError as error:
        raise Refused(_unprocessable("the body has not the fields that are asked for")) from error


def _adapter(name: str, hint: Any) -> Callable[[bytes], Any]:
    try:
        return adapter(hint)
    except TypeError as error:
        raise TypeError(f"parameter {name!r}: {error}") from error.__cause__


def _valid(validate: Callable[[bytes], Any], request: Request) -> Any:
    try:
        return validate(request.content)
    except ValueError as error:
        details = getattr(error, "errors", None)
        if details is None:
            raise
        # Neither the input nor the exceptions of validators go back.
        errors = details(include_url=False, include_input=False, include_context=False)
        for item in errors:
            if item["type"] not in _pydantics_own():
                item["msg"] = "the value is refused"
        raise Refused(_unprocessable("the body is not what is asked for", errors)) from error


@cache
def _pydantics_own() -> frozenset[str]:
    """The kinds of error whose text is pydantic's, and not that of a validator's exception."""
    from pydantic_core.core_schema import ErrorType  # noqa: PLC0415  optional

    return frozenset(get_args(ErrorType)) - _VALIDATORS


def _unprocessable(detail: str, errors: Any = ()) -> Response:
    return Response({"detail": detail, "errors": list(errors)}, status=422)
