"""Imports and exports: how subjects cross from one account to another.

Source: https://github.com/nats-io/jwt (imports.go, exports.go).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Self, cast

from authsvc.claims import members
from authsvc.claims.members import Json
from authsvc.errors import InvalidClaims

__all__ = ["Export", "ExportType", "Import", "ResponseType", "ServiceLatency"]

ExportType = Literal["stream", "service", ""]
ResponseType = Literal["Singleton", "Stream", "Chunked", ""]

_IMPORT = frozenset({
    "name", "subject", "account", "token", "to", "local_subject", "type", "share", "allow_trace",
})  # fmt: skip
_EXPORT = frozenset({
    "name", "subject", "type", "token_req", "revocations", "response_type", "response_threshold",
    "service_latency", "account_token_position", "advertise", "allow_trace", "description",
    "info_url",
})  # fmt: skip
_LATENCY = frozenset({"sampling", "results"})
_MAX_PERCENT = 100
_UINT64_MAX = (1 << 64) - 1


def export_type(values: Json, name: str) -> ExportType:
    """``stream`` or ``service``; empty if absent.

    Raises:
        InvalidClaims: Anything else.
    """
    value = members.text(values, name)
    if values.get(name) is not None and value not in {"stream", "service"}:
        raise InvalidClaims(f"the member {name!r} is neither stream nor service")
    return cast("ExportType", value)


@dataclass(slots=True, kw_only=True)
class Import:
    """A subject of another account, brought into this one.

    Args:
        name: For people.
        subject: The subject as its publisher sees it: of the exporter for a stream, of the
            importer for a service.
        account: The public key of the exporting account.
        token: An activation JWT, where the export demands one.
        to: An old way to say ``local_subject``.
        local_subject: The subject in this account; may hold ``$1`` for the first wildcard.
        type: ``stream`` or ``service``.
        share: Whether the exporter learns who calls; services only.
        allow_trace: Whether traces cross; streams only.
    """

    name: str = ""
    subject: str = ""
    account: str = ""
    token: str = ""
    to: str = ""
    local_subject: str = ""
    type: ExportType = ""
    share: bool = False
    allow_trace: bool = False

    def body(self) -> dict[str, Any]:
        """As JSON members."""
        return members.compact(
            {
                "name": self.name,
                "subject": self.subject,
                "account": self.account,
                "token": self.token,
                "to": self.to,
                "local_subject": self.local_subject,
                "type": self.type,
                "share": self.share,
                "allow_trace": self.allow_trace,
            }
        )

    @classmethod
    def read(cls, values: Json) -> Self:
        """From JSON members."""
        members.known(values, _IMPORT)
        return cls(
            name=members.text(values, "name"),
            subject=members.text(values, "subject"),
            account=members.text(values, "account"),
            token=members.text(values, "token"),
            to=members.text(values, "to"),
            local_subject=members.text(values, "local_subject"),
            type=export_type(values, "type"),
            share=members.flag(values, "share"),
            allow_trace=members.flag(values, "allow_trace"),
        )


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
