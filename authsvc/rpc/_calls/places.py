"""Where a peer's stored requests and their answers are, and what a refusal there means."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

from authsvc import subjects
from authsvc.errors import Backlogged, PayloadTooLarge, RpcError
from authsvc.rpc._wire.jetstream import Refusal, read_receipt, stream_names

__all__ = ["Places", "places", "receipts_of", "refusal"]

_TOO_LARGE = 10054
_FULL = (10077, 10047, 10023, 10167)
"""JetStream's errors where no more fits: a limit of the stream, of the server, of its queue."""

Reader = Callable[[bytes, bytes | None], Any]


class Places(NamedTuple):
    """Of an app of a peer: where requests go, what reads their receipts, how answers begin."""

    requests: str
    read: Reader
    responses: str


@lru_cache(1024)
def places(user: str, name: str, app: str) -> Places:
    """The places of an app.

    Args:
        user: Who asks, encoded.
        name: The peer.
        app: The peer's app.
    """
    token = subjects.token(name)
    names = f"{user}.{token}.{subjects.token(app)}"
    reader = partial(read_receipt, stream_names(token)[0])
    return Places(f"requests.{names}.stored", reader, f"responses.{names}.")


@lru_cache(1024)
def receipts_of(requester: str) -> Reader:
    """What reads the receipts of a requester's stream of responses."""
    return partial(read_receipt, stream_names(subjects.token(requester))[1])


def refusal(answer: Refusal, name: str, app: str) -> RpcError:
    """The error that a refused request ends with.

    Args:
        answer: What JetStream said.
        name: The peer.
        app: The peer's app.
    """
    if answer.error == _TOO_LARGE:
        return PayloadTooLarge(f"{name} keeps no requests of this size: {answer.text}")
    if answer.error in _FULL:
        return Backlogged(
            f"{name} has no room for another request to {app!r} from this user "
            f"({answer.text}); try again when some have been handled or have expired"
        )
    return RpcError(f"nats-server did not store the request ({answer.error}): {answer.text}")
