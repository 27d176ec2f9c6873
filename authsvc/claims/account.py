"""Account claims: a space of subjects of its own, its limits, keys and exchange with others.

Source: https://github.com/nats-io/jwt (account_claims.go, signingkeys.go).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from authsvc.claims import members
from authsvc.claims.common import Claims, shared
from authsvc.claims.exchange import Export, Import
from authsvc.claims.limits import (
    NO_LIMIT,
    TERMS,
    AccountLimits,
    TimeRange,
    read_terms,
    terms_body,
)
from authsvc.claims.members import Json
from authsvc.claims.permissions import Permissions
from authsvc.claims.report import Report
from authsvc.errors import InvalidClaims
from authsvc.nkey import Prefix

__all__ = ["AccountClaims", "Authorization", "MessageTrace", "UserScope", "WeightedMapping"]

_NAMES = frozenset({
    "imports", "exports", "limits", "signing_keys", "revocations", "default_permissions",
    "mappings", "authorization", "trace", "cluster_traffic", "description", "info_url",
    "tags", "type", "version",
})  # fmt: skip
_SCOPE = frozenset({"kind", "key", "role", "template", "description"})
_MAPPING = frozenset({"subject", "weight", "cluster"})
_AUTHORIZATION = frozenset({"auth_users", "allowed_accounts", "xkey"})
_TRACE = frozenset({"dest", "sampling"})
_PERMISSIONS = frozenset({"pub", "sub", "resp"})
_MAX_WEIGHT = 255


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


@dataclass(slots=True, kw_only=True)
class AccountClaims(Claims):
    """What an account is and may do.

    Args:
        imports: Subjects of other accounts.
        exports: Subjects for other accounts.
        limits: What the operator allows.
        signing_keys: Public account keys that may sign users, each with its template, if any.
        revocations: Users that ended: user key, or ``*``, to seconds since the epoch. Every JWT
            issued until then, inclusive, is refused.
        default_permissions: For users whose JWT has none.
        mappings: Subjects that are delivered elsewhere.
        authorization: Another service that decides who may connect.
        trace: Where traces go.
        cluster_traffic: Who pays for traffic between servers: ``system``, ``owner`` or empty.
        description: For people.
        info_url: For people.
    """

    KIND: ClassVar[str] = "account"
    ISSUERS: ClassVar[tuple[Prefix, ...]] = (Prefix.ACCOUNT, Prefix.OPERATOR)
    SUBJECTS: ClassVar[tuple[Prefix, ...]] = (Prefix.ACCOUNT,)

    imports: list[Import] = field(default_factory=list)
    exports: list[Export] = field(default_factory=list)
    limits: AccountLimits = field(default_factory=AccountLimits)
    signing_keys: dict[str, UserScope | None] = field(default_factory=dict)
    revocations: dict[str, int] = field(default_factory=dict)
    default_permissions: Permissions = field(default_factory=Permissions)
    mappings: dict[str, list[WeightedMapping]] = field(default_factory=dict)
    authorization: Authorization = field(default_factory=Authorization)
    trace: MessageTrace | None = None
    cluster_traffic: str = ""
    description: str = ""
    info_url: str = ""

    def body(self) -> dict[str, Any]:
        """The ``nats`` member; imports and exports are sorted by subject, as Go sorts them."""
        imports = sorted(self.imports, key=lambda entry: entry.subject)
        exports = sorted(self.exports, key=lambda entry: entry.subject)
        body = members.compact(
            {
                "imports": [entry.body() for entry in imports],
                "exports": [entry.body() for entry in exports],
            }
        )
        body["limits"] = self.limits.body()
        body |= members.compact(
            {
                "signing_keys": _signing_keys(self.signing_keys),
                "revocations": members.by_key(self.revocations, int),
            }
        )
        body["default_permissions"] = self.default_permissions.body()
        if self.mappings:
            body["mappings"] = members.by_key(
                self.mappings, lambda targets: [target.body() for target in targets]
            )
        body["authorization"] = self.authorization.body()
        if self.trace is not None:
            body["trace"] = self.trace.body()
        body |= members.compact(
            {
                "cluster_traffic": self.cluster_traffic,
                "description": self.description,
                "info_url": self.info_url,
            }
        )
        return body | self.trailer()

    @classmethod
    def read(cls, payload: Json, nats: Json) -> Self:
        """The claims in a payload; limits that are missing are 0, which allows nothing."""
        members.known(nats, _NAMES)
        default_permissions = members.child(nats, "default_permissions")
        members.known(default_permissions, _PERMISSIONS)
        has_trace = nats.get("trace") is not None
        return cls(
            **shared(payload, nats),
            imports=members.children(nats, "imports", Import.read),
            exports=members.children(nats, "exports", Export.read),
            limits=AccountLimits.read(members.child(nats, "limits")),
            signing_keys=_read_signing_keys(nats),
            revocations=members.times_by_key(nats, "revocations"),
            default_permissions=Permissions.read(default_permissions),
            mappings=_read_mappings(members.child(nats, "mappings")),
            authorization=Authorization.read(members.child(nats, "authorization")),
            trace=MessageTrace.read(members.child(nats, "trace")) if has_trace else None,
            cluster_traffic=members.text(nats, "cluster_traffic"),
            description=members.text(nats, "description"),
            info_url=members.text(nats, "info_url"),
        )

    def check(self, report: Report) -> None:
        """Note everything that is wrong with the claims."""
        Claims.check(self, report)


def _signing_keys(keys: Mapping[str, UserScope | None]) -> list[Any]:
    return [scope.body() if (scope := keys[key]) else key for key in sorted(keys)]


def _read_signing_keys(nats: Json) -> dict[str, UserScope | None]:
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


def _read_mappings(values: Json) -> dict[str, list[WeightedMapping]]:
    return {key: members.children(values, key, WeightedMapping.read) for key in values}
