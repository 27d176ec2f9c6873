"""Signing keys of an account, and the templates that scoped ones carry.

Source: https://github.com/nats-io/jwt (signingkeys.go).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from authsvc.claims import members
from authsvc.claims.limits import (
    NO_LIMIT,
    TERMS,
    TimeRange,
    check_terms,
    read_terms,
    terms_body,
)
from authsvc.claims.members import Json
from authsvc.claims.permissions import Permissions
from authsvc.claims.report import Report, shown
from authsvc.errors import InvalidClaims
from authsvc.nkey import Prefix

__all__ = ["UserScope", "check_signing_keys", "read_signing_keys", "signing_keys_body"]

_SCOPE = frozenset({"kind", "key", "role", "template", "description"})


@dataclass(slots=True, kw_only=True)
class UserScope:
    """A signing key's template: what every user signed by it may do.

    Subjects may hold ``{{name()}}``, ``{{subject()}}``, ``{{tag(k)}}`` and the like, which
    nats-server replaces by whatever the user JWT says.

    Args:
        key: The public key of the signing key.
        role: For people.
        description: For people.
    """

    key: str = ""
    role: str = ""
    description: str = ""
    permissions: Permissions = field(default_factory=Permissions)
    subs: int = NO_LIMIT
    data: int = NO_LIMIT
    payload: int = NO_LIMIT
    src: tuple[str, ...] = ()
    times: tuple[TimeRange, ...] = ()
    locale: str = ""
    bearer_token: bool = False
    proxy_required: bool = False
    allowed_connection_types: tuple[str, ...] = ()

    def body(self) -> dict[str, Any]:
        """As JSON members."""
        return {
            "kind": "user_scope",
            "key": self.key,
            "role": self.role,
            "template": terms_body(self),
            "description": self.description,
        }

    @classmethod
    def read(cls, values: Json) -> Self:
        """From JSON members; a limit that is missing is no limit."""
        members.known(values, _SCOPE)
        if members.text(values, "kind") != "user_scope":
            raise InvalidClaims("a scoped signing key is not of the kind user_scope")
        template = members.child(values, "template")
        members.known(template, TERMS)
        return cls(
            key=members.text(values, "key"),
            role=members.text(values, "role"),
            description=members.text(values, "description"),
            **read_terms(template, NO_LIMIT),
        )


def signing_keys_body(keys: Mapping[str, UserScope | None]) -> list[Any]:
    """As a JSON list, sorted by key."""
    return [scope.body() if (scope := keys[key]) else key for key in sorted(keys)]


def read_signing_keys(nats: Json) -> dict[str, UserScope | None]:
    """From the member ``signing_keys``: texts and objects.

    Raises:
        InvalidClaims: It holds something else.
    """
    values = nats.get("signing_keys")
    if values is None:
        return {}
    if not isinstance(values, list):
        raise InvalidClaims("the member 'signing_keys' is not a list")
    keys: dict[str, UserScope | None] = {}
    for value in values:
        if isinstance(value, str):
            keys[value] = None
        elif isinstance(value, dict):
            scope = UserScope.read(value)
            keys[scope.key] = scope
        else:
            raise InvalidClaims("a signing key is neither a text nor an object")
    return keys


def check_signing_keys(keys: Mapping[str, UserScope | None], report: Report) -> None:
    """Note keys that are none, and what is wrong with templates."""
    for key, scope in keys.items():
        report.key(key, Prefix.ACCOUNT, "the signing key")
        if scope is None:
            continue
        if scope.key != key:
            report.error(f"the template of the signing key {shown(key)} is for another key")
        check_terms(scope, report)
        if 0 in {scope.subs, scope.data, scope.payload}:
            # Written as absent, and what is absent from a template is no limit: nats-server
            # would let through what 0 was to stop.
            report.error(f"the template of the signing key {shown(key)} can't have a limit of 0")
        if scope.permissions.empty:
            report.warning(f"the template of the signing key {shown(key)} allows every subject")
