"""What validation found: every issue, none of them thrown away."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, NamedTuple

from authsvc import subjects
from authsvc.errors import InvalidKey, InvalidSubject
from authsvc.nkey import Prefix, PublicKey

__all__ = ["Issue", "Report", "is_key", "shown"]


class Issue(NamedTuple):
    """One thing that is wrong with claims.

    Args:
        level: An error makes the claims wrong, a warning only strange.
        blocking: Whether claims with it must not be used.
        text: What is wrong.
    """

    level: Literal["error", "warning"]
    blocking: bool
    text: str


@lru_cache(maxsize=4096)
def is_key(text: str, *prefixes: Prefix) -> bool:
    """Whether it is a public nkey of one of the kinds."""
    try:
        return PublicKey.parse(text).prefix in prefixes
    except InvalidKey:
        return False


def shown(text: str) -> str:
    """A text for a message, unless it looks like a seed that was given for a public key."""
    return "(a seed; was a public key meant?)" if text.startswith("S") else repr(text)


@dataclass(slots=True)
class Report:
    """Collects issues while claims are looked through.

    Args:
        now: Seconds since the epoch.
    """

    now: float
    issues: list[Issue] = field(default_factory=list)

    def error(self, text: str) -> None:
        """Note something that makes the claims wrong."""
        self.issues.append(Issue("error", blocking=True, text=text))

    def warning(self, text: str) -> None:
        """Note something that is allowed but hardly meant."""
        self.issues.append(Issue("warning", blocking=False, text=text))

    def key(self, text: str, prefix: Prefix, what: str) -> None:
        """Demand a public nkey of the kind."""
        if not is_key(text, prefix):
            self.error(f"{what} {shown(text)} is not a public {prefix.name.lower()} key")

    def subject(self, text: str, what: str) -> bool:
        """Demand a subject, wildcards allowed; whether it is one."""
        try:
            subjects.validate(text)
        except InvalidSubject as error:
            self.error(f"{what}: {error}")
            return False
        return True
