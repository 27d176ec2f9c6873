"""Imports: subjects of other accounts, brought into this one.

Source: https://github.com/nats-io/jwt (imports.go, types.go).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from authsvc.claims import members
from authsvc.claims.exchange import ExportType, export_type, overlapping
from authsvc.claims.members import Json
from authsvc.claims.report import Report
from authsvc.nkey import Prefix

__all__ = ["Import", "check_imports"]

_IMPORT = frozenset({
    "name", "subject", "account", "token", "to", "local_subject", "type", "share", "allow_trace",
})  # fmt: skip
_REFERENCE = re.compile(r"\$([+-]?[0-9]+)\Z", re.ASCII)


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

    @property
    def local(self) -> str:
        """The subject in this account, references to wildcards written as wildcards."""
        if self.to:
            return self.to
        tokens = (self.local_subject or self.subject).split(".")
        return ".".join("*" if _REFERENCE.match(token) else token for token in tokens)

    def check(self, report: Report) -> None:
        """Note what is wrong, but for the activation token."""
        what = f"the import {self.subject!r}"
        if not self.type:
            report.error(f"{what} is neither of a stream nor of a service")
        if self.type == "service" and self.allow_trace:
            report.error(f"{what} allows traces, which only imports of streams may")
        if self.type != "service" and self.share:
            report.error(f"{what} shares who calls, which only imports of services may")
        report.key(self.account, Prefix.ACCOUNT, f"{what} names as its account")
        if self.to:
            report.warning(f"{what} uses 'to', which is outdated; use local_subject")
        report.subject(self.subject, what)
        if self.local_subject:
            _check_renaming(self, report)


def _check_renaming(entry: Import, report: Report) -> None:
    what = f"the local subject of the import {entry.subject!r}"
    if entry.to:
        report.error(f"{what} stands beside 'to', which says the same")
    report.subject(entry.local_subject, what)
    subject, local = entry.subject.split("."), entry.local_subject.split(".")
    if (subject[-1] == ">") != (local[-1] == ">"):
        report.error(f"{what} must end in '>' if and only if the subject does")
    wildcards = subject.count("*")
    references = [int(match[1]) for token in local if (match := _REFERENCE.match(token))]
    if any(reference > wildcards for reference in references):
        report.error(f"{what} refers to a wildcard that the subject does not have")
    if local.count("*") + len(references) != wildcards:
        report.error(f"{what} does not name every wildcard of the subject once")


def check_imports(imports: Sequence[Import], report: Report) -> None:
    """Note what is wrong with the imports, and services that overlap."""
    for entry in imports:
        entry.check(report)
    services = [(entry.account, entry.local) for entry in imports if entry.type == "service"]
    for one, other in overlapping(services):
        report.error(f"the imports {one!r} and {other!r} overlap")
