"""Who is connected, kept from events and listings, and whose connections are too many. No I/O.

    census.came(key, presence)          # an event
    census.left(key, now)
    census.settle(listed, silent, began)    # a listing, for events that were lost
    census.excess(user, servers, now)

Events of two subjects may come in the wrong order, and a listing may be older than an event. A
connection's number is never used again, so what left is remembered for a while and stays gone.
What is kept is as much as there are connections, and what left in the last half minute.

Source: nats-server, server/events.go (ConnectEventMsg, ClientInfo);
server/monitor.go (ConnInfo).
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from authsvc import jose
from authsvc.errors import InvalidInput

__all__ = [
    "Census",
    "Key",
    "Presence",
    "Whose",
    "credential_in",
    "read_event",
    "read_moment",
    "read_whose",
]

_CREDENTIAL_TAG = "credential:"
_GONE_SECONDS = 30.0
TAKEOVER_SECONDS = 5.0
"""A renewed credential's connection and the one before it are there together for less."""


class Key(NamedTuple):
    """A connection: nobody else's number, as long as there are servers."""

    server_id: str
    cid: int


class Whose(NamedTuple):
    """Whose a connection is.

    Args:
        user: The name as it stands in subjects; empty for whom no limit holds.
        public_key: The nkey; empty where auth callout let it in.
        issued_at: Of its JWT, in seconds since the epoch.
        signer: The key that signed its JWT.
        credential: The id in its JWT's tag.
    """

    user: str
    public_key: str = ""
    issued_at: int = 0
    signer: str = ""
    credential: str = ""


@dataclass(frozen=True, slots=True)
class Presence:
    """A connection that is there.

    Args:
        whose: Its user.
        started_at: Seconds since the epoch, by its server's clock.
        noted_at: When it was heard of here, by the monotonic clock.
    """

    whose: Whose
    started_at: float
    noted_at: float


def read_whose(found: Mapping[str, Any], user: object) -> Whose:
    """Whose connection an event or an item of a listing tells of.

    Only what nats-server checked counts. What a client calls itself (``user`` in CONNECT) stands
    beside a JWT as it was sent; without a JWT it is the name that auth callout gave.

    Args:
        found: With ``jwt``, where it has one.
        user: The name that it logged in with.
    """
    jwt = found.get("jwt")
    if not jwt:
        return Whose(str(user or ""))
    try:
        body = orjson.loads(jose.b64decode(str(jwt).split(".")[1]))
        # The service's own users, and those whom an account's other owner made, have none.
        credential = credential_in(body["nats"].get("tags") or ())
        if credential is None:
            return Whose("")
        return Whose(
            str(body["name"]),
            str(body["sub"]),
            int(body["iat"]),
            # One string for all whom it signed.
            sys.intern(str(body["iss"])),
            credential,
        )
    except (InvalidInput, KeyError, IndexError, TypeError, ValueError, AttributeError):
        return Whose("")


def credential_in(tags: Iterable[object]) -> str | None:
    """The credential's id that stands among the tags of a user JWT; None where there is none."""
    for tag in map(str, tags):
        if tag.startswith(_CREDENTIAL_TAG):
            return tag.removeprefix(_CREDENTIAL_TAG)
    return None


def read_event(body: bytes, now: float) -> tuple[Key, Presence] | None:
    """The connection that a CONNECT or DISCONNECT event is about; None if it is no such event.

    Args:
        body: The message.
        now: By the monotonic clock.
    """
    try:
        event = orjson.loads(body)
        client = event["client"]
        key = Key(str(event["server"]["id"]), int(client["id"]))
        whose = read_whose(client, client.get("user"))
        return key, Presence(whose, read_moment(client["start"]), now)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def read_moment(text: object) -> float:
    """Seconds since the epoch, to the microsecond, of RFC 3339 text; 0 where it can't be read."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError):
        return 0.0


class Census:
    """The connections of an account.

    Args:
        limit: How many a user may have.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._present: dict[Key, Presence] = {}
        self._of: dict[str, set[Key]] = {}
        self._gone: OrderedDict[Key, float] = OrderedDict()
        self.over: set[str] = set()
        """Who has more than the limit."""

    def __len__(self) -> int:
        return len(self._present)

    @property
    def present(self) -> Mapping[Key, Presence]:
        """The connections that there are."""
        return self._present

    def came(self, key: Key, presence: Presence) -> bool:
        """Note a connection; whether its user has too many now."""
        user = presence.whose.user
        if key in self._gone or key in self._present:
            return user in self.over
        self._present[key] = presence
        if not user:
            return False
        keys = self._of.setdefault(user, set())
        keys.add(key)
        if len(keys) > self._limit:
            self.over.add(user)
        return user in self.over

    def left(self, key: Key, now: float) -> None:
        """Note that a connection ended.

        Args:
            key: Which.
            now: By the monotonic clock.
        """
        while self._gone and next(iter(self._gone.values())) < now - _GONE_SECONDS:
            self._gone.popitem(last=False)
        self._gone[key] = now
        self._gone.move_to_end(key)
        self._forget(key)

    def settle(
        self, listed: Mapping[Key, Presence | None], silent: Collection[str], began: float
    ) -> bool:
        """Make it agree with a listing.

        Args:
            listed: What there is; None where the listing did not tell whose it is.
            silent: The ids of the servers that did not tell everything.
            began: When the listing began, by the monotonic clock.

        Returns:
            Whether it is complete; not where something is new and nobody said whose it is.
        """
        for key, presence in list(self._present.items()):
            heard = key.server_id not in silent
            if heard and key not in listed and presence.noted_at < began:
                self._forget(key)
        complete = True
        for key, found in listed.items():
            if found is not None:
                self.came(key, found)
            elif key not in self._present and key not in self._gone:
                complete = False
        return complete

    def excess(self, user: str, servers: Collection[str], now: float) -> list[Key]:
        """The user's newest connections above the limit, the newest last.

        By when they began, then by server and number, so that all who count choose the same. One
        that takes over from an older one with the same nkey and an older JWT has time to.

        Args:
            user: The name in subjects.
            servers: The ids of those whose connections count.
            now: By the monotonic clock.
        """
        keys = [key for key in self._of.get(user, ()) if key.server_id in servers]
        keys.sort(key=lambda key: (self._present[key].started_at, key))
        kept, found = keys[: self._limit], []
        oldest: dict[str, int] = {}
        for key in kept:
            whose = self._present[key].whose
            known = oldest.get(whose.public_key, whose.issued_at)
            oldest[whose.public_key] = min(known, whose.issued_at)
        for key in keys[self._limit :]:
            presence = self._present[key]
            # One successor each.
            before = oldest.get(presence.whose.public_key)
            if (
                presence.whose.public_key
                and before is not None
                and before < presence.whose.issued_at
                and now - presence.noted_at < TAKEOVER_SECONDS
            ):
                del oldest[presence.whose.public_key]
                continue
            found.append(key)
        return found

    def count(self, user: str) -> int:
        """How many connections the user has."""
        return len(self._of.get(user, ()))

    def _forget(self, key: Key) -> None:
        presence = self._present.pop(key, None)
        if presence is None or not presence.whose.user:
            return
        user = presence.whose.user
        keys = self._of[user]
        keys.discard(key)
        if len(keys) <= self._limit:
            self.over.discard(user)
        if not keys:
            del self._of[user]
