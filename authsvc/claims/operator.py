"""Operator claims: the root of trust that nats-server is configured with.

Source: https://github.com/nats-io/jwt (operator_claims.go).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

from authsvc.claims import members
from authsvc.claims.common import Claims, shared
from authsvc.claims.exchange import is_url
from authsvc.claims.members import Json
from authsvc.claims.report import Report
from authsvc.nkey import Prefix

__all__ = ["OperatorClaims"]

_NAMES = frozenset({
    "signing_keys", "account_server_url", "operator_service_urls", "system_account",
    "assert_server_version", "strict_signing_key_usage", "tags", "type", "version",
})  # fmt: skip
_SCHEMES = ("nats", "tls", "ws", "wss")
_SERVER_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+\Z", re.ASCII)


@dataclass(slots=True, kw_only=True)
class OperatorClaims(Claims):
    """Who may sign accounts, and where things are.

    Args:
        signing_keys: Public operator keys that may sign in its place.
        account_server_url: Where tools find account JWTs.
        operator_service_urls: Where tools find nats-server.
        system_account: The public key of the system account.
        assert_server_version: The oldest nats-server that may run, as ``2.14.3``.
        strict_signing_key_usage: Whether accounts must be signed by a signing key.
    """

    KIND: ClassVar[str] = "operator"
    ISSUERS: ClassVar[tuple[Prefix, ...]] = (Prefix.OPERATOR,)
    SUBJECTS: ClassVar[tuple[Prefix, ...]] = (Prefix.OPERATOR,)

    signing_keys: list[str] = field(default_factory=list)
    account_server_url: str = ""
    operator_service_urls: list[str] = field(default_factory=list)
    system_account: str = ""
    assert_server_version: str = ""
    strict_signing_key_usage: bool = False

    def body(self) -> dict[str, Any]:
        """The ``nats`` member."""
        return (
            members.compact(
                {
                    "signing_keys": self.signing_keys,
                    "account_server_url": self.account_server_url,
                    "operator_service_urls": self.operator_service_urls,
                    "system_account": self.system_account,
                    "assert_server_version": self.assert_server_version,
                    "strict_signing_key_usage": self.strict_signing_key_usage,
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
            signing_keys=members.texts(nats, "signing_keys"),
            account_server_url=members.text(nats, "account_server_url"),
            operator_service_urls=members.texts(nats, "operator_service_urls"),
            system_account=members.text(nats, "system_account"),
            assert_server_version=members.text(nats, "assert_server_version"),
            strict_signing_key_usage=members.flag(nats, "strict_signing_key_usage"),
        )

    def check(self, report: Report) -> None:
        """Note everything that is wrong with the claims."""
        Claims.check(self, report)
        for key in self.signing_keys:
            report.key(key, Prefix.OPERATOR, "the signing key")
        if self.system_account:
            report.key(self.system_account, Prefix.ACCOUNT, "the system account")
        if self.account_server_url and not is_url(self.account_server_url, host=False):
            report.error(f"the account server {self.account_server_url!r} is no URL")
        for url in self.operator_service_urls:
            if url:
                _check_service(url, report)
        version = self.assert_server_version
        if version and not _SERVER_VERSION.match(version):
            report.error(f"the server version {version!r} is not of the form 2.14.3")


def _check_service(url: str, report: Report) -> None:
    if not is_url(url, host=False) or urlsplit(url).scheme not in _SCHEMES:
        report.error(f"the service {url!r} does not begin with nats, tls, ws or wss")
        return
    parts = urlsplit(url)
    # A password in a URL must not come back in a message.
    if "@" in parts.netloc:
        report.error("a service URL holds credentials, which have no place in it")
    elif parts.path:
        report.error(f"the service {url!r} has a path, which has no place in it")
