"""Where an account's messages and decisions go: mappings, traces, an external authorization.

Source: https://github.com/nats-io/jwt (account_claims.go).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from authsvc.claims import members
from authsvc.claims.exchange import has_wildcards
from authsvc.claims.members import Json
from authsvc.claims.report import Report, shown
from authsvc.nkey import Prefix, is_curve_key

__all__ = ["Authorization", "MessageTrace", "WeightedMapping", "check_mappings", "read_mappings"]

_MAPPING = frozenset({"subject", "weight", "cluster"})
_AUTHORIZATION = frozenset({"auth_users", "allowed_accounts", "xkey"})
_TRACE = frozenset({"dest", "sampling"})
_MAX_WEIGHT = 255
_PERCENT = 100


@dataclass(slots=True, kw_only=True)
class WeightedMapping:
    """One target of a subject mapping.

    Args:
        subject: The target.
        weight: Its share in percent; 0 means 100.
        cluster: The cluster it holds in; all if empty.
    """

    subject: str = ""
    weight: int = 0
    cluster: str = ""

    def body(self) -> dict[str, Any]:
        """As JSON members."""
        rest = members.compact({"weight": self.weight, "cluster": self.cluster})
        return {"subject": self.subject, **rest}

    @classmethod
    def read(cls, values: Json) -> Self:
        """From JSON members."""
        members.known(values, _MAPPING)
        return cls(
            subject=members.text(values, "subject"),
            weight=members.integer(values, "weight", low=0, high=_MAX_WEIGHT),
            cluster=members.text(values, "cluster"),
        )


def read_mappings(values: Json) -> dict[str, list[WeightedMapping]]:
    """From JSON members."""
    return {key: members.children(values, key, WeightedMapping.read) for key in values}


def check_mappings(mappings: Mapping[str, Sequence[WeightedMapping]], report: Report) -> None:
    """Note subjects that are none, and shares above 100 percent."""
    for source, targets in mappings.items():
        report.subject(source, "a mapping")
        shares: Counter[str] = Counter()
        for target in targets:
            report.subject(target.subject, f"a target of the mapping {source!r}")
            shares[target.cluster] += target.weight or _PERCENT
        if any(share > _PERCENT for share in shares.values()):
            report.error(f"the mapping {source!r} gives away more than 100 percent")


@dataclass(slots=True, kw_only=True)
class Authorization:
    """Another service decides who may connect to the account (auth callout).

    Args:
        auth_users: Public user keys of that service, which it does not decide about.
        allowed_accounts: Public keys of the accounts it may put users in, or ``*``.
        xkey: A public curve key to encrypt the questions for.
    """

    auth_users: tuple[str, ...] = ()
    allowed_accounts: tuple[str, ...] = ()
    xkey: str = ""

    def body(self) -> dict[str, Any]:
        """As JSON members."""
        return members.compact(
            {
                "auth_users": self.auth_users,
                "allowed_accounts": self.allowed_accounts,
                "xkey": self.xkey,
            }
        )

    @classmethod
    def read(cls, values: Json) -> Self:
        """From JSON members."""
        members.known(values, _AUTHORIZATION)
        return cls(
            auth_users=tuple(members.texts(values, "auth_users")),
            allowed_accounts=tuple(members.texts(values, "allowed_accounts")),
            xkey=members.text(values, "xkey"),
        )

    def check(self, report: Report) -> None:
        """Note what is wrong."""
        if self.allowed_accounts and not self.auth_users:
            report.error("the external authorization names accounts but no users")
        for user in self.auth_users:
            report.key(user, Prefix.USER, "the external authorization's user")
        if self.allowed_accounts != ("*",):
            for account in self.allowed_accounts:
                report.key(account, Prefix.ACCOUNT, "the external authorization's account")
        if self.xkey and not is_curve_key(self.xkey):
            report.error(f"the external authorization's xkey {shown(self.xkey)} is no curve key")


@dataclass(slots=True, kw_only=True)
class MessageTrace:
    """Where traces of messages with a ``traceparent`` header go.

    Args:
        destination: The subject.
        sampling: Percent of the messages, 1 to 100; 0 means 100.
    """

    destination: str = ""
    sampling: int = 0

    def body(self) -> dict[str, Any]:
        """As JSON members."""
        return members.compact({"dest": self.destination, "sampling": self.sampling})

    @classmethod
    def read(cls, values: Json) -> Self:
        """From JSON members."""
        members.known(values, _TRACE)
        return cls(
            destination=members.text(values, "dest"), sampling=members.integer(values, "sampling")
        )

    def check(self, report: Report) -> None:
        """Note what is wrong."""
        if report.subject(self.destination, "the trace") and has_wildcards(self.destination):
            report.error(f"the trace's subject {self.destination!r} holds wildcards")
        if not 0 <= self.sampling <= _PERCENT:
            report.error("the trace samples more than 100 percent or less than 0")
