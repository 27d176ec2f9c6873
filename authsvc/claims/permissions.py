"""Which subjects may be published and subscribed to.

An empty allow list allows everything. Use :meth:`Permission.only`, which writes a denial of
everything where nothing is allowed.

Source: https://github.com/nats-io/jwt (types.go).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from authsvc import subjects
from authsvc.claims import members
from authsvc.claims.members import Json
from authsvc.claims.report import Report

__all__ = ["Permission", "Permissions", "ResponsePermission"]

_PERMISSION = frozenset({"allow", "deny"})
_RESPONSE = frozenset({"max", "ttl"})
_SUBJECT_AND_QUEUE = 2


@dataclass(slots=True, kw_only=True)
class Permission:
    """Subjects for one direction.

    Args:
        allow: Subjects that are allowed; empty allows everything that is not denied.
        deny: Subjects that are refused, even where allowed.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    @classmethod
    def only(cls, allowed: Iterable[str] = ()) -> Self:
        """Allow these subjects and nothing else; nothing at all if there are none."""
        allow = tuple(allowed)
        return cls(allow=allow) if allow else cls(deny=(">",))

    @property
    def empty(self) -> bool:
        """Whether it restricts nothing."""
        return not self.allow and not self.deny

    def body(self) -> dict[str, Any]:
        """As JSON members."""
        if not self.deny:
            return {"allow": self.allow} if self.allow else {}
        return {"allow": self.allow, "deny": self.deny} if self.allow else {"deny": self.deny}

    @classmethod
    def read(cls, values: Json) -> Self:
        """From JSON members."""
        members.known(values, _PERMISSION)
        return cls(
            allow=tuple(members.texts(values, "allow")), deny=tuple(members.texts(values, "deny"))
        )

    def check(self, report: Report, what: str, *, queues: bool) -> None:
        """Note subjects that are none; a queue group may follow one where ``queues``."""
        every = (*self.allow, *self.deny)
        if subjects.all_valid(every):
            return
        for subject in every:
            parts = subject.split(" ")
            if len(parts) > _SUBJECT_AND_QUEUE or (len(parts) > 1 and not queues):
                report.error(f"{what} permission {subject!r} holds white space")
                continue
            for part in parts:
                report.subject(part, f"{what} permission")


@dataclass(slots=True, kw_only=True)
class ResponsePermission:
    """Leave to answer any reply subject that was received.

    Args:
        max_messages: How many answers to each, -1 for any number.
        expires: For how long, in nanoseconds; 0 for the server's default.
    """

    max_messages: int = 0
    expires: int = 0

    def body(self) -> dict[str, Any]:
        """As JSON members."""
        return {"max": self.max_messages, "ttl": self.expires}

    @classmethod
    def read(cls, values: Json) -> Self:
        """From JSON members."""
        members.known(values, _RESPONSE)
        return cls(
            max_messages=members.integer(values, "max"), expires=members.integer(values, "ttl")
        )


@dataclass(slots=True, kw_only=True)
class Permissions:
    """Permissions of both directions.

    Args:
        publish: Subjects that may be published to.
        subscribe: Subjects that may be subscribed to, each with a queue group or without.
        responses: Leave to answer, if any.
    """

    publish: Permission = field(default_factory=Permission)
    subscribe: Permission = field(default_factory=Permission)
    responses: ResponsePermission | None = None

    @classmethod
    def nothing(cls) -> Self:
        """Deny everything."""
        return cls(publish=Permission.only(), subscribe=Permission.only())

    @property
    def empty(self) -> bool:
        """Whether they restrict nothing."""
        return self.publish.empty and self.subscribe.empty and self.responses is None

    def body(self) -> dict[str, Any]:
        """As JSON members."""
        body: dict[str, Any] = {"pub": self.publish.body(), "sub": self.subscribe.body()}
        if self.responses is not None:
            body["resp"] = self.responses.body()
        return body

    @classmethod
    def read(cls, values: Json) -> Self:
        """From JSON members."""
        responses = values.get("resp")
        return cls(
            publish=Permission.read(members.child(values, "pub")),
            subscribe=Permission.read(members.child(values, "sub")),
            responses=None
            if responses is None
            else ResponsePermission.read(members.child(values, "resp")),
        )

    def check(self, report: Report) -> None:
        """Note what is wrong."""
        both = self.publish, self.subscribe
        if subjects.all_valid([entry for one in both for entry in (*one.allow, *one.deny)]):
            return
        self.publish.check(report, "publish", queues=False)
        self.subscribe.check(report, "subscribe", queues=True)
