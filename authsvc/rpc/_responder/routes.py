"""From a handler's type hints to how it is called, and from what it returns to a Response."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, NamedTuple, get_type_hints

from authsvc import subjects
from authsvc.rpc._loops.threads import Threads
from authsvc.rpc._messages.message import Request, Response
from authsvc.rpc._responder.bodies import Extractor, Refused, extractor, whole
from authsvc.rpc._responder.cancelling import unbroken
from authsvc.rpc._responder.statistics import EndpointStats
from authsvc.rpc._responder.streaming import is_generator, streaming, wants_stream

__all__ = [
    "Allow",
    "Handler",
    "Hints",
    "Refused",
    "Route",
    "allow_rule",
    "allowed",
    "bind",
    "parameter_hints",
    "route_methods",
]

Handler = Callable[..., Any]
Hints = list[tuple[str, Any]]
Allow = Iterable[str] | Callable[[Any], Any] | None
Rule = Callable[[Request], Any]
Call = Callable[[Request, Threads], Awaitable[Response]]

_METHOD = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")


class Route(NamedTuple):
    """A handler for one path and method."""

    call: Call
    allow: Rule | None
    handler: Handler
    takes: Hints
    returns: Any
    stats: EndpointStats
    streams: bool = False
    """Whether the handler reads the body in pieces, as they come."""


def route_methods(methods: str | Iterable[str]) -> tuple[str, ...]:
    """Methods in upper case.

    Raises:
        ValueError: One is no method, or there is none.
    """
    found = (methods,) if isinstance(methods, str) else tuple(methods)
    found = tuple(method.upper() for method in found)
    if not found or any(not method or set(method) - _METHOD for method in found):
        raise ValueError("methods= is a list of HTTP methods, such as ('GET', 'POST')")
    return found


def allow_rule(allow: Allow) -> Rule | None:
    """Who may call, as a function of the request.

    Args:
        allow: None for everybody; names; or a callable, async or not. The callable gets the
            requester's name, or the Request where its parameter is annotated so or called
            ``request``.

    Raises:
        InvalidName: A name is none.
    """
    if allow is None:
        return None
    if callable(allow):
        return allow if _asks_for_request(allow) else _wants_name(allow)
    names = (allow,) if isinstance(allow, str) else allow
    known = frozenset(subjects.username(name) for name in names)
    return lambda request: request.requester in known


async def allowed(rule: Rule, request: Request) -> bool:
    """Whether a rule lets the request through: it says True, and nothing else will do."""
    answer = rule(request)
    if isinstance(answer, Awaitable):
        answer = await answer
    return answer is True


def _wants_name(allow: Callable[[Any], Any]) -> Rule:
    return lambda request: allow(request.requester)


def _asks_for_request(allow: Callable[[Any], Any]) -> bool:
    try:
        first = next(iter(inspect.signature(allow).parameters.values()), None)
    except (TypeError, ValueError):
        return False
    if first is None:
        return False
    return first.annotation in {Request, "Request"} or first.name == "request"


def bind(
    handler: Handler, local_names: dict[str, Any], allow: Allow = None, service: Any = None
) -> Route:
    """How to call a handler: with what its type hints ask for.

    Args:
        handler: ``async def``, or ``def``, which then runs in a thread.
        local_names: Names its annotations may use besides those of its module.
        allow: Who may call it.
        service: What a parameter gets that asks for the class of this.

    Raises:
        TypeError: A parameter asks for something that a request has not.
        InvalidName: A name of ``allow`` is none.
    """
    takes, returns = parameter_hints(handler, local_names)
    found = [extractor(name, hint, service) for name, hint in takes]
    if is_generator(handler):
        call = streaming(handler, found)
    elif _awaits(handler):
        call = _asynchronous(handler, found)
    else:
        call = _synchronous(handler, found)
    if not _awaits(handler):
        # A thread can't be cancelled; and one that runs on unheard would count for nobody.
        call = unbroken(call)
    streams = any(wants_stream(hint) for _, hint in takes)
    stats = EndpointStats.of(handler, "", ())
    return Route(call, allow_rule(allow), handler, takes, returns, stats, streams)


def _awaits(handler: Handler) -> bool:
    """Whether it runs in the event loop, and not in a thread."""
    called = getattr(handler, "__call__", None)  # noqa: B004  objects with an async __call__
    return (
        inspect.iscoroutinefunction(handler)
        or inspect.isasyncgenfunction(handler)
        or inspect.iscoroutinefunction(called)
    )


def _asynchronous(handler: Handler, takes: list[Extractor]) -> Call:
    if takes == [whole]:

        async def call_plain(request: Request, _threads: Threads) -> Response:
            return _response(await handler(request))

        return call_plain

    async def call(request: Request, _threads: Threads) -> Response:
        return _response(await handler(*[take(request) for take in takes]))

    return call


def _synchronous(handler: Handler, takes: list[Extractor]) -> Call:
    async def call(request: Request, threads: Threads) -> Response:
        values = [take(request) for take in takes]
        result = await threads.run(partial(handler, *values))
        if inspect.isawaitable(result):
            result = await result
        return _response(result)

    return call


def parameter_hints(handler: Handler, local_names: dict[str, Any]) -> tuple[Hints, Any]:
    """What a handler's parameters ask for, and what it says that it returns.

    Raises:
        TypeError: A parameter can't be given by position.
    """
    signature = inspect.signature(handler)
    if any(isinstance(p.annotation, str) for p in signature.parameters.values()):
        target = handler if inspect.isroutine(handler) else type(handler).__call__
        hints = get_type_hints(target, localns=local_names, include_extras=True)
    else:
        hints = {p.name: p.annotation for p in signature.parameters.values()}
        hints["return"] = signature.return_annotation
    found = []
    for parameter in signature.parameters.values():
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            continue
        if parameter.default is not parameter.empty:
            continue
        if parameter.kind is parameter.KEYWORD_ONLY:
            raise TypeError(f"{parameter.name!r}: handlers get their parameters by position")
        hint = hints.get(parameter.name, Request)
        found.append((parameter.name, Request if hint is parameter.empty else hint))
    return found, hints.get("return", signature.empty)


def _response(result: Any) -> Response:
    if isinstance(result, Response):
        return result
    dump = getattr(result, "model_dump_json", None)
    if dump is not None:
        return Response(dump().encode(), headers={"content-type": "application/json"})
    return Response(result)
