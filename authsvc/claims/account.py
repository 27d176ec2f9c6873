"""Account claims: a space of subjects of its own, its limits, keys and exchange with others.

Source: https://github.com/nats-io/jwt (account_claims.go).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from authsvc.claims import members
from authsvc.claims.common import Claims, shared
from authsvc.claims.exchange import check_info, has_wildcards
from authsvc.claims.exports import Export, check_exports
from authsvc.claims.imports import Import, check_imports
from authsvc.claims.limits import NO_LIMIT, AccountLimits
from authsvc.claims.members import Json
from authsvc.claims.permissions import Permissions
from authsvc.claims.report import Report, is_key, shown
from authsvc.claims.routing import (
    Authorization,
    MessageTrace,
    WeightedMapping,
    check_mappings,
    read_mappings,
)
from authsvc.claims.scope import (
    UserScope,
    check_signing_keys,
    read_signing_keys,
    signing_keys_body,
)
from authsvc.nkey import Prefix

__all__ = ["AccountClaims"]

_NAMES = frozenset({
    "imports", "exports", "limits", "signing_keys", "revocations", "default_permissions",
    "mappings", "authorization", "trace", "cluster_traffic", "description", "info_url",
    "tags", "type", "version",
})  # fmt: skip
_PERMISSIONS = frozenset({"pub", "sub", "resp"})


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
                "signing_keys": signing_keys_body(self.signing_keys),
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
            signing_keys=read_signing_keys(nats),
            revocations=members.times_by_key(nats, "revocations"),
            default_permissions=Permissions.read(default_permissions),
            mappings=read_mappings(members.child(nats, "mappings")),
            authorization=Authorization.read(members.child(nats, "authorization")),
            trace=MessageTrace.read(members.child(nats, "trace")) if has_trace else None,
            cluster_traffic=members.text(nats, "cluster_traffic"),
            description=members.text(nats, "description"),
            info_url=members.text(nats, "info_url"),
        )

    def check(self, report: Report) -> None:
        """Note everything that is wrong with the claims, but for the tokens of imports."""
        Claims.check(self, report)
        check_imports(self.imports, report)
        check_exports(self.exports, report)
        self.limits.check(report)
        self._check_counts(report)
        self.default_permissions.check(report)
        check_mappings(self.mappings, report)
        self.authorization.check(report)
        if self.trace is not None:
            self.trace.check(report)
        check_signing_keys(self.signing_keys, report)
        for key in self.revocations:
            if key != "*" and not is_key(key, Prefix.USER):
                report.warning(f"the revocation of {shown(key)} revokes nobody: it is no user key")
        check_info(self.description, self.info_url, report)
        if self.cluster_traffic not in {"", "system", "owner"}:
            report.error(f"the cluster traffic {self.cluster_traffic!r} is not system or owner")
        if is_key(self.issuer, Prefix.ACCOUNT) and self.limits.body():
            report.warning("the account signed its own limits; nats-server wants its operator's")

    def _check_counts(self, report: Report) -> None:
        limits = self.limits
        if limits.imports != NO_LIMIT and len(self.imports) > limits.imports:
            report.error("the account has more imports than its operator allows")
        if limits.exports == NO_LIMIT:
            return
        if len(self.exports) > limits.exports:
            report.error("the account has more exports than its operator allows")
        if not limits.wildcard_exports and any(has_wildcards(e.subject) for e in self.exports):
            report.error("the account exports wildcards, which its operator does not allow")
