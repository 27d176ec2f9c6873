"""Exports: subjects of this account, offered to others.

Source: https://github.com/nats-io/jwt (exports.go).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from authsvc.claims import members
from authsvc.claims.exchange import (
    ExportType,
    check_info,
    export_type,
    has_wildcards,
    overlapping,
)
from authsvc.claims.members import Json
from authsvc.claims.report import Report
from authsvc.errors import InvalidClaims

__all__ = ["Export", "ResponseType", "ServiceLatency", "check_exports"]

ResponseType = Literal["Singleton", "Stream", "Chunked", ""]

_EXPORT = frozenset({
    "name", "subject", "type", "token_req", "revocations", "response_type", "response_threshold",
    "service_latency", "account_token_position", "advertise", "allow_trace", "description",
    "info_url",
})  # fmt: skip
_LATENCY = frozenset({"sampling", "results"})
_RESPONSES = ("", "Singleton", "Stream", "Chunked")
_MAX_PERCENT = 100
_UINT64_MAX = (1 << 64) - 1


@dataclass(slots=True, kw_only=True)
class ServiceLatency:
    """Where nats-server publishes how long a service took.

    Args:
        sampling: Percent of the requests, 1 to 100; 0 for those with a tracing header.
        results: The subject.
    """

    sampling: int = 0
    results: str = ""

    def body(self) -> dict[str, Any]:
        """As JSON members."""
        if not 0 <= self.sampling <= _MAX_PERCENT:
            raise InvalidClaims("the sampling of a service is 1 to 100 percent, or 0")
        return {"sampling": self.sampling or "headers", "results": self.results}

    @classmethod
    def read(cls, values: Json) -> Self:
        """From JSON members."""
        members.known(values, _LATENCY)
        sampling = values.get("sampling")
        if isinstance(sampling, str) and sampling.lower() == "headers":
            percent = 0
        else:
            percent = members.integer(values, "sampling", high=_MAX_PERCENT, low=0)
        return cls(sampling=percent, results=members.text(values, "results"))


@dataclass(slots=True, kw_only=True)
class Export:
    """A subject of this account, offered to others.

    Args:
        name: For people.
        subject: The subject.
        type: ``stream`` or ``service``.
        token_required: Whether importers need an activation JWT.
        revocations: Activations that ended: account key, or ``*``, to seconds since the epoch.
        response_type: How many answers a service gives; empty means ``Singleton``.
        response_threshold: How long an answer may take, in nanoseconds; 0 for the default.
        service_latency: Where latencies are published, if anywhere.
        account_token_position: Which token, counted from 1, must be the importer's key; 0 none.
        advertise: Whether nats-server lists it.
        allow_trace: Whether traces cross; services only.
        description: For people.
        info_url: For people.
    """

    name: str = ""
    subject: str = ""
    type: ExportType = ""
    token_required: bool = False
    revocations: dict[str, int] = field(default_factory=dict)
    response_type: ResponseType | str = ""
    response_threshold: int = 0
    service_latency: ServiceLatency | None = None
    account_token_position: int = 0
    advertise: bool = False
    allow_trace: bool = False
    description: str = ""
    info_url: str = ""

    def body(self) -> dict[str, Any]:
        """As JSON members."""
        latency = self.service_latency
        return members.compact(
            {
                "name": self.name,
                "subject": self.subject,
                "type": self.type,
                "token_req": self.token_required,
                "revocations": members.by_key(self.revocations, int),
                "response_type": self.response_type,
                "response_threshold": self.response_threshold,
                "service_latency": latency and latency.body(),
                "account_token_position": self.account_token_position,
                "advertise": self.advertise,
                "allow_trace": self.allow_trace,
                "description": self.description,
                "info_url": self.info_url,
            }
        )

    @classmethod
    def read(cls, values: Json) -> Self:
        """From JSON members."""
        members.known(values, _EXPORT)
        has_latency = values.get("service_latency") is not None
        return cls(
            name=members.text(values, "name"),
            subject=members.text(values, "subject"),
            type=export_type(values, "type"),
            token_required=members.flag(values, "token_req"),
            revocations=members.times_by_key(values, "revocations"),
            response_type=members.text(values, "response_type"),
            response_threshold=members.integer(values, "response_threshold"),
            service_latency=ServiceLatency.read(members.child(values, "service_latency"))
            if has_latency
            else None,
            account_token_position=members.integer(
                values, "account_token_position", low=0, high=_UINT64_MAX
            ),
            advertise=members.flag(values, "advertise"),
            allow_trace=members.flag(values, "allow_trace"),
            description=members.text(values, "description"),
            info_url=members.text(values, "info_url"),
        )

    def check(self, report: Report) -> None:
        """Note what is wrong."""
        what = f"the export {self.subject!r}"
        if self.type == "service":
            if self.response_type not in _RESPONSES:
                report.error(f"{what} has an unknown response type {self.response_type!r}")
        elif self.type == "stream":
            self._check_stream(report, what)
        else:
            report.error(f"{what} is neither a stream nor a service")
        if self.service_latency is not None:
            self._check_latency(self.service_latency, report, what)
        if self.response_threshold < 0:
            report.error(f"{what} has a negative response threshold")
        if self.response_threshold > 0 and self.type != "service":
            report.error(f"{what} has a response threshold, which only services may")
        report.subject(self.subject, what)
        if self.account_token_position:
            tokens = self.subject.split(".")
            if tokens[self.account_token_position - 1 : self.account_token_position] != ["*"]:
                report.error(f"{what} has no '*' where the importer's key must stand")
        check_info(self.description, self.info_url, report)

    def _check_stream(self, report: Report, what: str) -> None:
        if self.response_type:
            report.error(f"{what} is a stream and has a response type")
        if self.allow_trace:
            report.error(f"{what} allows traces, which only services may")

    def _check_latency(self, latency: ServiceLatency, report: Report, what: str) -> None:
        if self.type != "service":
            report.error(f"{what} measures latency, which only services may")
        if not 0 <= latency.sampling <= _MAX_PERCENT:
            report.error(f"{what} samples latency by more than 100 percent or less than 0")
        if report.subject(latency.results, f"{what}: latency") and has_wildcards(latency.results):
            report.error(f"{what} sends latency to a subject with wildcards")


def check_exports(exports: Sequence[Export], report: Report) -> None:
    """Note what is wrong with the exports, and those that contain others of their type."""
    for entry in exports:
        entry.check(report)
    for one, other in overlapping([(entry.type, entry.subject) for entry in exports]):
        report.error(f"the exports {one!r} and {other!r} overlap")
