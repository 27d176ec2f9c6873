"""Claims looked through: all issues at once, and a refusal where one of them blocks."""

from __future__ import annotations

from authsvc.claims.account import AccountClaims
from authsvc.claims.activation import ActivationClaims
from authsvc.claims.codec import decode
from authsvc.claims.common import Claims
from authsvc.claims.exchange import contained
from authsvc.claims.imports import Import
from authsvc.claims.report import Issue, Report
from authsvc.errors import InvalidClaims

__all__ = ["ensure_valid", "validate"]


def validate(claims: Claims, now: float) -> list[Issue]:
    """Everything that is wrong with the claims.

    Args:
        claims: What to look through.
        now: Seconds since the epoch.
    """
    report = Report(now)
    claims.check(report)
    if isinstance(claims, AccountClaims):
        for entry in claims.imports:
            if entry.token:
                _check_activation(entry, claims.subject, report)
    return report.issues


def ensure_valid(claims: Claims, now: float) -> None:
    """Refuse claims that must not be used.

    Args:
        claims: What to look through.
        now: Seconds since the epoch.

    Raises:
        InvalidClaims: An issue blocks; ``issues`` holds the text of each that does.
    """
    texts = [issue.text for issue in validate(claims, now) if issue.blocking]
    if texts:
        raise InvalidClaims(f"the {claims.KIND} claims are wrong: {'; '.join(texts)}", texts)


def _check_activation(entry: Import, account: str, report: Report) -> None:
    """Note what is wrong with the activation token of an import into the account.

    Its times are not looked at, as in Go's library: nats-server does, whenever it counts.
    """
    what = f"the activation token of the import {entry.subject!r}"
    try:
        activation = decode(entry.token)
    except InvalidClaims as error:
        report.error(f"{what} does not hold: {error}")
        return
    if not isinstance(activation, ActivationClaims):
        report.error(f"{what} is a JWT of another kind")
        return
    if entry.account not in {activation.issuer, activation.issuer_account}:
        report.error(f"{what} is of another account")
    if activation.subject != account:
        report.error(f"{what} is for another account")
    if activation.import_type != entry.type:
        report.error(f"{what} is for a {activation.import_type or 'nothing'}")
    activation.check_body(report)
    subject = entry.to if entry.type == "service" and entry.to else entry.subject
    if not contained(subject, activation.import_subject):
        report.error(f"{what} is for {activation.import_subject!r}")
