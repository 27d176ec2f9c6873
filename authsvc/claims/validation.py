"""Claims looked through: all issues at once, and a refusal where one of them blocks."""

from __future__ import annotations

from authsvc.claims.common import Claims
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
        raise InvalidClaims(f"the claims of the {claims.KIND} are wrong: {'; '.join(texts)}", texts)
