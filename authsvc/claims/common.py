"""What every kind of claims has: the registered members of a JWT, and tags.

Source: https://github.com/nats-io/jwt (claims.go), RFC 7519 section 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from authsvc.claims import members
from authsvc.claims.members import Json
from authsvc.claims.report import Report, is_key, shown
from authsvc.errors import InvalidClaims
from authsvc.nkey import Prefix

__all__ = ["VERSION", "Claims"]

VERSION = 2

_NAMES = frozenset({"aud", "exp", "jti", "iat", "iss", "name", "nbf", "sub", "nats"})
# Version 1 had its type here; Go takes such claims for version 1 still.
_OLD_NAMES = frozenset({"type"})


@dataclass(slots=True, kw_only=True)
class Claims:
    """The members that all kinds share. Times are seconds since the epoch, 0 for none.

    Args:
        subject: The public nkey the claims are about.
        name: For people; a user's name stands in the subjects of its permissions.
        audience: For whom the claims are meant; rarely used.
        tags: Free texts, such as ``credential:<id>``.
        issued_at: When they were made; the caller's to set.
        not_before: When they begin to hold.
        expires: When they stop to hold.
        issuer: The public nkey that signed; set by encode and decode.
        id: ``jti``, a hash over the shared members; set by encode and decode.
    """

    KIND: ClassVar[str] = ""
    ISSUERS: ClassVar[tuple[Prefix, ...]] = ()
    SUBJECTS: ClassVar[tuple[Prefix, ...]] = ()

    subject: str
    name: str = ""
    audience: str = ""
    tags: tuple[str, ...] = ()
    issued_at: int = 0
    not_before: int = 0
    expires: int = 0
    issuer: str = ""
    id: str = ""

    def body(self) -> dict[str, Any]:
        """The ``nats`` member, in the order Go writes it in."""
        raise NotImplementedError

    @classmethod
    def read(cls, payload: Json, nats: Json) -> Self:
        """The claims in a payload, every member's type checked.

        Raises:
            InvalidClaims: A member has another type, or is out of range.
        """
        raise NotImplementedError

    def check(self, report: Report) -> None:
        """Note everything that is wrong with the claims."""
        if self.SUBJECTS and not is_key(self.subject, *self.SUBJECTS):
            report.error(
                f"the subject {shown(self.subject)} is no public key for {self.KIND} claims"
            )
        if self.issuer and self.ISSUERS and not is_key(self.issuer, *self.ISSUERS):
            report.error(f"the issuer {shown(self.issuer)} may not sign {self.KIND} claims")
        # No leeway, as in nats-server.
        if self.expires and report.now > self.expires:
            report.error("the claims have expired")
        if self.not_before and report.now < self.not_before:
            report.error("the claims are not valid yet")

    def trailer(self) -> dict[str, Any]:
        """What ends every ``nats`` member: tags, type and version."""
        end: dict[str, Any] = {"tags": self.tags} if self.tags else {}
        end["type"] = self.KIND
        end["version"] = VERSION
        return end


def shared(payload: Json, nats: Json) -> dict[str, Any]:
    """The shared members as arguments of a claims class.

    Raises:
        InvalidClaims: One has another type, or the subject is missing.
    """
    members.known(payload, _NAMES | _OLD_NAMES)
    if "type" in payload:
        raise InvalidClaims("claims of version 1 are not read; issue them anew")
    return {
        "subject": members.text(payload, "sub"),
        "name": members.text(payload, "name"),
        "audience": members.text(payload, "aud"),
        "tags": tuple(members.texts(nats, "tags")),
        "issued_at": members.integer(payload, "iat"),
        "not_before": members.integer(payload, "nbf"),
        "expires": members.integer(payload, "exp"),
        "issuer": members.text(payload, "iss"),
        "id": members.text(payload, "jti"),
    }
