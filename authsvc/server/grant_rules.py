"""Whether what an administrator would grant reaches into what is not the user's: pure.

    reaches(["weather.>"], [])                     # []: nobody's
    reaches(["requests.bob.>"], [], token="alice") # alice would speak as bob

Everything under a reserved tree counts as somebody else's, whether or not that somebody exists
yet, unless the user's own list (the contract's section 2) covers it already.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from authsvc import subjects
from authsvc.server import policy
from authsvc.server.policy import Action

__all__ = ["RESERVED", "Reach", "reaches"]

RESERVED = {
    "requests.>": "the requests of others",
    "responses.>": "the responses of others",
    "_INBOX.>": "the inboxes of others",
    "$SYS.>": "the system's subjects",
    "$JS.>": "the JetStream API",
    "_R_.>": "replies between accounts",
    "_GR_.>": "replies between clusters",
}
"""Trees that are never free to grant, and what a grant in them reaches."""

_EVERYBODYS: dict[Action, tuple[str, ...]] = {"publish": ("$SYS.REQ.USER.INFO",), "subscribe": ()}
"""What stands in each user's own list."""


class Reach(NamedTuple):
    """One entry of a grant that reaches into what is not the user's."""

    action: Action
    entry: str
    into: str
    """In words, such as "the requests of others"."""


def reaches(
    publish: Sequence[str], subscribe: Sequence[str], token: str | None = None
) -> list[Reach]:
    """Every entry that must not be granted without saying that it is dangerous.

    Args:
        publish: Subjects that may be published to; wildcards allowed.
        subscribe: Subjects that may be subscribed to; wildcards allowed.
        token: The encoded name of the one user who gets the grant. None for a role: it has
            many members, and nothing in the reserved trees is right for each of them.

    Raises:
        InvalidSubject: An entry is no subject.
    """
    own = dict(_EVERYBODYS)
    if token is not None:
        allowed = policy.permissions(token)
        own = {"publish": allowed.publish.allow, "subscribe": allowed.subscribe.allow}
    asked: list[tuple[Action, str, str]] = [("publish", entry, entry) for entry in publish]
    asked += [("subscribe", entry, _heard(entry)) for entry in subscribe]
    return [
        Reach(action, entry, into)
        for action, entry, effective in asked
        for into in _into(effective, own[action])
    ]


def _into(entry: str, own: Iterable[str]) -> list[str]:
    if any(subjects.covers(mine, entry) for mine in own):
        return []
    return [into for tree, into in RESERVED.items() if subjects.overlaps(tree, entry)]


def _heard(entry: str) -> str:
    """All that a subscription can hear that nats-server takes because of the entry.

    nats-server compares a subscription with the entries token by token, so that ``a.*`` lets a
    subscription to ``a.>`` pass, which hears more than the entry matches.
    """
    return f"{entry[:-1]}>" if entry == "*" or entry.endswith(".*") else entry
