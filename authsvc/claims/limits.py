"""How much users and accounts may use. -1 is no limit; 0 allows nothing at all.

Source: https://github.com/nats-io/jwt (types.go, account_claims.go).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from authsvc.claims import members
from authsvc.claims.members import Json
from authsvc.claims.permissions import Permissions
from authsvc.claims.report import Report

__all__ = ["AccountLimits", "JetStreamLimits", "TimeRange", "UserTerms"]

NO_LIMIT = -1

_TIME_RANGE = frozenset({"start", "end"})
_CLOCK = re.compile(r"(?:[01]?[0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:[.,][0-9]+)?\Z", re.ASCII)
# The shape alone: whether a zone is known is for the time zone database of nats-server to say.
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+\-]*(?:/[A-Za-z0-9_+\-]+)*\Z", re.ASCII)
TERMS = frozenset({
    "pub", "sub", "resp", "src", "times", "times_location", "subs", "data", "payload",
    "bearer_token", "proxy_required", "allowed_connection_types",
})  # fmt: skip
_TIER = frozenset({
    "mem_storage", "disk_storage", "streams", "consumer", "max_ack_pending",
    "mem_max_stream_bytes", "disk_max_stream_bytes", "max_bytes_required",
})  # fmt: skip
_ACCOUNT = _TIER | {
    "subs", "data", "payload", "imports", "exports", "wildcards", "disallow_bearer", "conn",
    "leaf", "tiered_limits",
}  # fmt: skip


@dataclass(slots=True, kw_only=True)
class TimeRange:
    """Hours of the day in which a user may connect, each as ``hh:mm:ss``."""

    start: str = ""
    end: str = ""

    def body(self) -> dict[str, Any]:
        """As JSON members."""
        return members.compact({"start": self.start, "end": self.end})

    @classmethod
    def read(cls, values: Json) -> Self:
        """From JSON members."""
        members.known(values, _TIME_RANGE)
        return cls(start=members.text(values, "start"), end=members.text(values, "end"))

    def check(self, report: Report) -> None:
        """Note what is wrong."""
        for what, clock in (("start", self.start), ("end", self.end)):
            if not _CLOCK.match(clock):
                report.error(f"the {what} {clock!r} of a time range is not hh:mm:ss")


class UserTerms(Protocol):
    """What a user JWT and a scoped signing key both say about a user's connection."""

    permissions: Permissions
    subs: int
    data: int
    payload: int
    src: tuple[str, ...]
    times: tuple[TimeRange, ...]
    locale: str
    bearer_token: bool
    proxy_required: bool
    allowed_connection_types: tuple[str, ...]


def terms_body(terms: UserTerms) -> dict[str, Any]:
    """The terms as JSON members, in the order Go writes them in."""
    body = terms.permissions.body()
    # Users are minted by the thousand: what is set rarely costs one look each.
    if terms.src:
        body["src"] = terms.src
    if terms.times:
        body["times"] = [time.body() for time in terms.times]
    if terms.locale:
        body["times_location"] = terms.locale
    if terms.subs:
        body["subs"] = terms.subs
    if terms.data:
        body["data"] = terms.data
    if terms.payload:
        body["payload"] = terms.payload
    if terms.bearer_token:
        body["bearer_token"] = True
    if terms.proxy_required:
        body["proxy_required"] = True
    if terms.allowed_connection_types:
        body["allowed_connection_types"] = terms.allowed_connection_types
    return body


def read_terms(values: Json, absent: int) -> dict[str, Any]:
    """The terms as arguments of a class; limits that are missing are ``absent``."""
    return {
        "permissions": Permissions.read(values),
        "subs": members.integer(values, "subs", absent),
        "data": members.integer(values, "data", absent),
        "payload": members.integer(values, "payload", absent),
        "src": _networks(values),
        "times": tuple(members.children(values, "times", TimeRange.read)),
        "locale": members.text(values, "times_location"),
        "bearer_token": members.flag(values, "bearer_token"),
        "proxy_required": members.flag(values, "proxy_required"),
        "allowed_connection_types": tuple(members.texts(values, "allowed_connection_types")),
    }


def _networks(values: Json) -> tuple[str, ...]:
    source = values.get("src")
    if not isinstance(source, str):
        return tuple(members.texts(values, "src"))
    # An old spelling that Go still reads: one text with commas.
    parts = (part.strip() for part in source.lower().split(","))
    return tuple(dict.fromkeys(part for part in parts if part))


def check_terms(terms: UserTerms, report: Report) -> None:
    """Note what is wrong with the terms."""
    terms.permissions.check(report)
    for network in terms.src:
        try:
            address, slash, _ = network.partition("/")
            ipaddress.ip_network(network, strict=False)
            ipaddress.ip_address(address)
        except ValueError:
            slash = ""
        if not slash:
            report.error(f"the source {network!r} is not a network such as 192.0.2.0/24")
    for time in terms.times:
        time.check(report)
    if terms.locale and not _ZONE.match(terms.locale):
        report.error(f"the locale {terms.locale!r} is not a time zone such as Europe/Berlin")


@dataclass(slots=True, kw_only=True)
class JetStreamLimits:
    """What an account may store. JetStream is off where both storages are 0.

    Args:
        memory_storage: Bytes in memory.
        disk_storage: Bytes on disk.
        streams: Number of streams.
        consumers: Number of consumers.
        max_ack_pending: Messages of a consumer that wait for an acknowledgement.
        memory_max_stream_bytes: Bytes of one stream in memory, 0 for no limit.
        disk_max_stream_bytes: Bytes of one stream on disk, 0 for no limit.
        max_bytes_required: Whether each stream must name its size.
    """

    memory_storage: int = 0
    disk_storage: int = 0
    streams: int = 0
    consumers: int = 0
    max_ack_pending: int = 0
    memory_max_stream_bytes: int = 0
    disk_max_stream_bytes: int = 0
    max_bytes_required: bool = False

    def body(self) -> dict[str, Any]:
        """As JSON members."""
        return members.compact(
            {
                "mem_storage": self.memory_storage,
                "disk_storage": self.disk_storage,
                "streams": self.streams,
                "consumer": self.consumers,
                "max_ack_pending": self.max_ack_pending,
                "mem_max_stream_bytes": self.memory_max_stream_bytes,
                "disk_max_stream_bytes": self.disk_max_stream_bytes,
                "max_bytes_required": self.max_bytes_required,
            }
        )

    @classmethod
    def read(cls, values: Json) -> Self:
        """From JSON members."""
        return cls(
            memory_storage=members.integer(values, "mem_storage"),
            disk_storage=members.integer(values, "disk_storage"),
            streams=members.integer(values, "streams"),
            consumers=members.integer(values, "consumer"),
            max_ack_pending=members.integer(values, "max_ack_pending"),
            memory_max_stream_bytes=members.integer(values, "mem_max_stream_bytes"),
            disk_max_stream_bytes=members.integer(values, "disk_max_stream_bytes"),
            max_bytes_required=members.flag(values, "max_bytes_required"),
        )

    @classmethod
    def read_tier(cls, values: Json) -> Self:
        """From the JSON members of one tier."""
        members.known(values, _TIER)
        return cls.read(values)


@dataclass(slots=True, kw_only=True)
class AccountLimits:
    """What the operator allows an account: everything but JetStream unless said otherwise.

    Args:
        subs: Subscriptions of the account.
        data: Bytes; not enforced by nats-server.
        payload: Bytes of one message.
        imports: Number of imports.
        exports: Number of exports.
        wildcard_exports: Whether exports may hold wildcards.
        disallow_bearer: Whether bearer users are refused.
        connections: Connected clients.
        leaf_connections: Connected leaf nodes.
        jetstream: Storage, where there are no tiers.
        tiers: Storage by tier, such as ``R3``; excludes ``jetstream``.
    """

    subs: int = NO_LIMIT
    data: int = NO_LIMIT
    payload: int = NO_LIMIT
    imports: int = NO_LIMIT
    exports: int = NO_LIMIT
    wildcard_exports: bool = True
    disallow_bearer: bool = False
    connections: int = NO_LIMIT
    leaf_connections: int = NO_LIMIT
    jetstream: JetStreamLimits = field(default_factory=JetStreamLimits)
    tiers: dict[str, JetStreamLimits] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """As JSON members."""
        body = members.compact(
            {
                "subs": self.subs,
                "data": self.data,
                "payload": self.payload,
                "imports": self.imports,
                "exports": self.exports,
                "wildcards": self.wildcard_exports,
                "disallow_bearer": self.disallow_bearer,
                "conn": self.connections,
                "leaf": self.leaf_connections,
            }
        )
        body |= self.jetstream.body()
        if self.tiers:
            body["tiered_limits"] = members.by_key(self.tiers, JetStreamLimits.body)
        return body

    @classmethod
    def read(cls, values: Json) -> Self:
        """From JSON members; what is missing is 0, which allows nothing."""
        members.known(values, _ACCOUNT)
        return cls(
            subs=members.integer(values, "subs"),
            data=members.integer(values, "data"),
            payload=members.integer(values, "payload"),
            imports=members.integer(values, "imports"),
            exports=members.integer(values, "exports"),
            wildcard_exports=members.flag(values, "wildcards"),
            disallow_bearer=members.flag(values, "disallow_bearer"),
            connections=members.integer(values, "conn"),
            leaf_connections=members.integer(values, "leaf"),
            jetstream=JetStreamLimits.read(values),
            tiers=members.mapping(values, "tiered_limits", JetStreamLimits.read_tier),
        )

    def check(self, report: Report) -> None:
        """Note what is wrong."""
        if self.tiers and self.jetstream != JetStreamLimits():
            report.error("JetStream limits stand both in tiers and outside of them")
        if "" in self.tiers:
            report.error("a tier of JetStream limits has no name")
