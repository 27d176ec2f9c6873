"""User claims: what one nkey may do on NATS, signed by a key of its account.

Source: https://github.com/nats-io/jwt (user_claims.go).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from authsvc.claims import members
from authsvc.claims.common import VERSION, Claims, shared
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
from authsvc.claims.report import Report
from authsvc.nkey import Prefix

__all__ = ["UserClaims"]

_NAMES = TERMS | {"issuer_account", "tags", "type", "version"}


@dataclass(slots=True, kw_only=True)
class UserClaims(Claims):
    """What a user may do.

    A user signed by a scoped signing key has no permissions nor limits of its own, not even -1:
    see :meth:`scoped`.

    Args:
        issuer_account: The account's public key, where a signing key of the account signs.
        permissions: The subjects.
        subs: Subscriptions, -1 for no limit. 0 allows none.
        data: Bytes; not enforced by nats-server.
        payload: Bytes of one message, -1 for no limit. 0 allows none.
        src: Networks that the user may connect from, such as ``192.0.2.0/24``.
        times: Hours of the day in which the user may connect.
        locale: The time zone of ``times``.
        bearer_token: Whether the JWT alone is enough, without the nkey.
        proxy_required: Whether the user may only come through a trusted proxy.
        allowed_connection_types: Such as ``STANDARD`` or ``WEBSOCKET``; all if empty.
    """

    KIND: ClassVar[str] = "user"
    ISSUERS: ClassVar[tuple[Prefix, ...]] = (Prefix.ACCOUNT,)
    SUBJECTS: ClassVar[tuple[Prefix, ...]] = (Prefix.USER,)

    issuer_account: str = ""
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

    def scoped(self) -> Self:
        """Take every permission and limit away, for a scoped signing key to set them."""
        self.permissions = Permissions()
        self.subs = self.data = self.payload = 0
        self.src = self.times = self.allowed_connection_types = ()
        self.locale = ""
        self.bearer_token = self.proxy_required = False
        return self

    def body(self) -> dict[str, Any]:
        """The ``nats`` member."""
        body = terms_body(self)
        if self.issuer_account:
            body["issuer_account"] = self.issuer_account
        if self.tags:
            body["tags"] = self.tags
        body["type"] = "user"
        body["version"] = VERSION
        return body

    @classmethod
    def read(cls, payload: Json, nats: Json) -> Self:
        """The claims in a payload; a limit that is missing is 0, which allows nothing."""
        members.known(nats, _NAMES)
        return cls(
            **shared(payload, nats),
            **read_terms(nats, 0),
            issuer_account=members.text(nats, "issuer_account"),
        )

    def check(self, report: Report) -> None:
        """Note everything that is wrong with the claims."""
        Claims.check(self, report)
        check_terms(self, report)
        if self.issuer_account:
            report.key(self.issuer_account, Prefix.ACCOUNT, "the issuer_account")
        if self.permissions.empty and (self.subs or self.payload):
            report.warning("the user may publish and subscribe everything in its account")
