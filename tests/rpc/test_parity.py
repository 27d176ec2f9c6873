"""What the async face can do, the blocking one can, by the same names and arguments."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection
from typing import Any

import pytest

from authsvc import rpc
from authsvc.rpc import (
    AsyncClient,
    Client,
    Future,
    Peer,
    ResponseStream,
    SyncFuture,
    SyncPeer,
    SyncResponseStream,
)
from authsvc.rpc._session.arguments import CredentialArguments

TWINS: dict[type, type] = {
    AsyncClient: Client,
    Peer: SyncPeer,
    Future: SyncFuture,
    ResponseStream: SyncResponseStream,
}

# What the library itself calls: it runs in the event loop on both faces, or begins there.
INSIDE: dict[type, set[str]] = {
    AsyncClient: {"attach", "detach", "live", "mailbox", "session"},
    Peer: {"asking"},
}

# What only the blocking face needs: `await service.serve(client)` is a method of Service.
ONLY_BLOCKING: dict[type, set[str]] = {Client: {"live", "serve"}}

# How a type of the async face reads on the blocking one.
TYPES = {one.__name__: other.__name__ for one, other in TWINS.items()} | {
    "AbstractAsyncContextManager": "AbstractContextManager",
    "AsyncIterable": "Iterable",
    "AsyncIterator": "Iterator",
    "AsyncTransport": "SyncTransport",
}
ENTERED = {"__aenter__": "__enter__", "__aexit__": "__exit__"}


def public(kind: type) -> dict[str, Any]:
    """Methods and properties that a user of the class calls, as they are written down."""
    found = {name: thing for name, thing in vars(kind).items() if not name.startswith("_")}
    return {name: thing for name, thing in found.items() if inspect.isroutine(thing)} | {
        name: thing.fget for name, thing in found.items() if isinstance(thing, property)
    }


def blocking(annotation: Any, types: dict[str, str]) -> str:
    """An annotation as it reads on the blocking face."""
    return re.sub(r"\w+", lambda word: types.get(word[0], word[0]), str(annotation))


def parameters(
    function: Callable[..., Any], types: dict[str, str] | None = None
) -> list[tuple[Any, ...]]:
    return [
        (it.name, it.kind, it.default, blocking(it.annotation, types or {}))
        for it in inspect.signature(function).parameters.values()
    ]


def answer(function: Callable[..., Any], types: dict[str, str] | None = None) -> str:
    return blocking(inspect.signature(function).return_annotation, types or {})


def differences(
    one: type, other: type, types: dict[str, str], inside: Collection[str] = ()
) -> list[str]:
    """In what the blocking class is not the async one's twin."""
    found, mine = [], public(other)
    for name, twin in public(one).items():
        if name in inside:
            continue
        method = mine.get(name)
        if method is None:
            found.append(f"{other.__name__} has no {name}")
            continue
        if parameters(method) != parameters(twin, types):
            found.append(f"{name} takes something else")
        if answer(method) != answer(twin, types):
            found.append(f"{name} answers {answer(method)}, not {answer(twin, types)}")
        if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
            found.append(f"{name} must not be awaited")
        if isinstance(vars(one)[name], property) is not isinstance(vars(other)[name], property):
            found.append(f"{name} is a property on one side only")
        found += [f"{name} has no docstring" for it in (method, twin) if not inspect.getdoc(it)]
    return found


@pytest.mark.parametrize(("one", "other"), TWINS.items())
def test_every_method_has_its_twin(one: type, other: type) -> None:
    inside = INSIDE.get(one, set())
    assert inside <= set(public(one))
    assert differences(one, other, TYPES, inside) == []
    assert set(public(other)) - (set(public(one)) - inside) == ONLY_BLOCKING.get(other, set())
    assert inspect.getdoc(other)
    assert not {"__getattr__", "__getattribute__"} & set(vars(other))


def test_they_are_made_and_entered_alike() -> None:
    assert parameters(Client) == parameters(AsyncClient)
    for theirs, mine in ENTERED.items():
        assert parameters(getattr(Client, mine)) == parameters(getattr(AsyncClient, theirs))


def test_a_service_runs_by_the_same_arguments() -> None:
    made = dict(list(inspect.signature(AsyncClient).parameters.items())[1:])
    assert {name: it.annotation for name, it in made.items()} == {
        name: it.__forward_arg__ for name, it in CredentialArguments.__annotations__.items()
    }


def test_every_class_that_is_awaited_has_a_twin() -> None:
    awaited = {
        thing
        for name in rpc.__all__
        if inspect.isclass(thing := getattr(rpc, name))
        and any(inspect.iscoroutinefunction(it) for it in public(thing).values())
    }
    # A service blocks by `run`; a source is asked by the library alone; requests are handed over.
    assert awaited - {rpc.Service, rpc.CredentialSource, rpc.Request} == set(TWINS)


class Awaited:
    async def missing(self) -> None:
        """Not there."""

    async def call(self, a: int, *, b: int = 1) -> None:
        """Has another default there."""

    async def bare(self) -> None: ...

    async def awaited(self) -> Awaited:
        """Still awaited there, and answers something else."""
        return self

    @property
    def name(self) -> None:
        """A method there."""

    def attach(self) -> None:
        """Inside."""


class Blocking:
    def call(self, a: int, *, b: int = 2) -> None:
        """Has another default."""

    def bare(self) -> None: ...

    async def awaited(self) -> int:
        """Still awaited, and answers something else."""
        return 1

    def name(self) -> None:
        """A method here."""


def test_a_difference_is_found() -> None:
    assert differences(Awaited, Blocking, {"Awaited": "Blocking"}, {"attach"}) == [
        "Blocking has no missing",
        "call takes something else",
        "bare has no docstring",
        "bare has no docstring",
        "awaited answers int, not Blocking",
        "awaited must not be awaited",
        "name is a property on one side only",
    ]
