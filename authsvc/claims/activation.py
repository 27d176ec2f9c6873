"""Activation claims: one account lets another import what is not for everybody.

Source: https://github.com/nats-io/jwt (activation_claims.go, imports.go).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from authsvc.claims import members
from authsvc.claims.common import Claims, shared
from authsvc.claims.exchange import ExportType, export_type
from authsvc.claims.members import Json
from authsvc.claims.report import Report
from authsvc.nkey import Prefix

__all__ = ["ActivationClaims"]

_NAMES = frozenset({"subject", "kind", "issuer_account", "tags", "type", "version"})


@dataclass(slots=True, kw_only=True)
class ActivationClaims(Claims):
    """Leave for the account ``subject`` to import.

    Args:
        import_subject: What may be imported.
        import_type: ``stream`` or ``service``.
        issuer_account: The exporting account, where one of its signing keys signs.
    """

    KIND: ClassVar[str] = "activation"
    ISSUERS: ClassVar[tuple[Prefix, ...]] = (Prefix.ACCOUNT, Prefix.OPERATOR)
    SUBJECTS: ClassVar[tuple[Prefix, ...]] = (Prefix.ACCOUNT,)

    import_subject: str = ""
    import_type: ExportType = ""
    issuer_account: str = ""

    def body(self) -> dict[str, Any]:
        """The ``nats`` member."""
        return (
            members.compact(
                {
                    "subject": self.import_subject,
                    "kind": self.import_type,
                    "issuer_account": self.issuer_account,
                }
            )
            | self.trailer()
        )

    @classmethod
    def read(cls, payload: Json, nats: Json) -> Self:
        """The claims in a payload."""
        members.known(nats, _NAMES)
        return cls(
            **shared(payload, nats),
            import_subject=members.text(nats, "subject"),
            import_type=export_type(nats, "kind"),
            issuer_account=members.text(nats, "issuer_account"),
        )

    def check(self, report: Report) -> None:
        """Note everything that is wrong with the claims."""
        Claims.check(self, report)
        self.check_body(report)

    def check_body(self, report: Report) -> None:
        """Note what is wrong whatever the time is."""
        if not self.import_type:
            report.error("the activation is neither for a stream nor for a service")
        report.subject(self.import_subject, "the activation")
        if self.issuer_account:
            report.key(self.issuer_account, Prefix.ACCOUNT, "the issuer_account")
