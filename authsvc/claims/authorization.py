"""Authorization claims: nats-server asks a service whether a client may connect, and is answered.

Source: https://github.com/nats-io/jwt (authorization_claims.go).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from authsvc.claims import members
from authsvc.claims.common import Claims, shared
from authsvc.claims.members import Json
from authsvc.claims.report import Report
from authsvc.errors import InvalidClaims
from authsvc.nkey import Prefix

__all__ = [
    "AuthorizationRequestClaims",
    "AuthorizationResponseClaims",
    "ClientInformation",
    "ClientTls",
    "ConnectOptions",
    "ServerId",
]

_SERVER = frozenset({"name", "host", "id", "version", "cluster", "tags", "xkey"})
# Texts of CONNECT and of what the server knows about the client: attribute and member.
_CLIENT = {
    "user": "user", "name": "name", "tags": "tags", "name_tag": "name_tag", "kind": "kind",
    "type": "type", "mqtt_id": "mqtt_id", "nonce": "nonce",
}  # fmt: skip
_CONNECT = {
    "jwt": "jwt", "nkey": "nkey", "signature": "sig", "auth_token": "auth_token", "user": "user",
    "password": "pass", "name": "name", "lang": "lang", "version": "version",
}  # fmt: skip
_TLS = frozenset({"version", "cipher", "certs", "verified_chains"})
_REQUEST = frozenset({
    "server_id", "user_nkey", "client_info", "connect_opts", "client_tls", "request_nonce",
    "tags", "type", "version",
})  # fmt: skip
_RESPONSE = frozenset({"jwt", "error", "issuer_account", "tags", "type", "version"})
_UINT64_MAX = (1 << 64) - 1


@dataclass(slots=True, kw_only=True)
class ServerId:
    """The nats-server that asks."""

    name: str = ""
    host: str = ""
    id: str = ""
    version: str = ""
    cluster: str = ""
    tags: tuple[str, ...] = ()
    xkey: str = ""

    def body(self) -> dict[str, Any]:
        """As JSON members."""
        return {"name": self.name, "host": self.host, "id": self.id} | members.compact(
            {
                "version": self.version,
                "cluster": self.cluster,
                "tags": self.tags,
                "xkey": self.xkey,
            }
        )

    @classmethod
    def read(cls, values: Json) -> Self:
        """From JSON members."""
        members.known(values, _SERVER)
        texts = {name: members.text(values, name) for name in _SERVER - {"tags"}}
        return cls(**texts, tags=tuple(members.texts(values, "tags")))


@dataclass(slots=True, kw_only=True)
class ClientInformation:
    """What the server knows about the client."""

    host: str = ""
    id: int = 0
    user: str = ""
    name: str = ""
    tags: tuple[str, ...] = ()
    name_tag: str = ""
    kind: str = ""
    type: str = ""
    mqtt_id: str = ""
    nonce: str = ""

    def body(self) -> dict[str, Any]:
        """As JSON members."""
        rest = {member: getattr(self, name) for name, member in _CLIENT.items()}
        return members.compact({"host": self.host, "id": self.id, **rest})

    @classmethod
    def read(cls, values: Json) -> Self:
        """From JSON members."""
        members.known(values, frozenset({"host", "id", *_CLIENT.values()}))
        texts = {name: members.text(values, name) for name in _CLIENT if name != "tags"}
        return cls(
            host=members.text(values, "host"),
            id=members.integer(values, "id", low=0, high=_UINT64_MAX),
            tags=tuple(members.texts(values, "tags")),
            **texts,
        )


@dataclass(slots=True, kw_only=True)
class ConnectOptions:
    """What the client sent in CONNECT; secrets stay out of repr."""

    jwt: str = field(default="", repr=False)
    nkey: str = ""
    signature: str = field(default="", repr=False)
    auth_token: str = field(default="", repr=False)
    user: str = ""
    password: str = field(default="", repr=False)
    name: str = ""
    lang: str = ""
    version: str = ""
    protocol: int = 0

    def body(self) -> dict[str, Any]:
        """As JSON members."""
        texts = {member: getattr(self, name) for name, member in _CONNECT.items()}
        return members.compact(texts) | {"protocol": self.protocol}

    @classmethod
    def read(cls, values: Json) -> Self:
        """From JSON members."""
        members.known(values, frozenset({"protocol", *_CONNECT.values()}))
        texts = {name: members.text(values, member) for name, member in _CONNECT.items()}
        return cls(protocol=members.integer(values, "protocol"), **texts)


@dataclass(slots=True, kw_only=True)
class ClientTls:
    """The client's TLS connection; certificates are PEM."""

    version: str = ""
    cipher: str = ""
    certs: tuple[str, ...] = ()
    verified_chains: tuple[tuple[str, ...], ...] = ()

    def body(self) -> dict[str, Any]:
        """As JSON members."""
        return members.compact(
            {
                "version": self.version,
                "cipher": self.cipher,
                "certs": self.certs,
                "verified_chains": self.verified_chains,
            }
        )

    @classmethod
    def read(cls, values: Json) -> Self:
        """From JSON members."""
        members.known(values, _TLS)
        chains = values.get("verified_chains") or []
        if not isinstance(chains, list):
            raise InvalidClaims("the member 'verified_chains' is not a list")
        return cls(
            version=members.text(values, "version"),
            cipher=members.text(values, "cipher"),
            certs=tuple(members.texts(values, "certs")),
            verified_chains=tuple(tuple(members.texts({"c": chain}, "c")) for chain in chains),
        )


@dataclass(slots=True, kw_only=True)
class AuthorizationRequestClaims(Claims):
    """What nats-server asks about a client.

    Args:
        server: Who asks.
        user_nkey: The user key that the answer's user JWT must be for.
        client: What the server knows about the client.
        connect: What the client sent.
        tls: The client's TLS connection, if it has one.
        request_nonce: To be given back in the answer.
    """

    KIND: ClassVar[str] = "authorization_request"
    ISSUERS: ClassVar[tuple[Prefix, ...]] = (Prefix.SERVER,)
    SUBJECTS: ClassVar[tuple[Prefix, ...]] = ()

    server: ServerId = field(default_factory=ServerId)
    user_nkey: str = ""
    client: ClientInformation = field(default_factory=ClientInformation)
    connect: ConnectOptions = field(default_factory=ConnectOptions)
    tls: ClientTls | None = None
    request_nonce: str = ""

    def body(self) -> dict[str, Any]:
        """The ``nats`` member."""
        body: dict[str, Any] = {
            "server_id": self.server.body(),
            "user_nkey": self.user_nkey,
            "client_info": self.client.body(),
            "connect_opts": self.connect.body(),
        }
        if self.tls is not None:
            body["client_tls"] = self.tls.body()
        return body | members.compact({"request_nonce": self.request_nonce}) | self.trailer()

    @classmethod
    def read(cls, payload: Json, nats: Json) -> Self:
        """The claims in a payload."""
        members.known(nats, _REQUEST)
        has_tls = nats.get("client_tls") is not None
        return cls(
            **shared(payload, nats),
            server=ServerId.read(members.child(nats, "server_id")),
            user_nkey=members.text(nats, "user_nkey"),
            client=ClientInformation.read(members.child(nats, "client_info")),
            connect=ConnectOptions.read(members.child(nats, "connect_opts")),
            tls=ClientTls.read(members.child(nats, "client_tls")) if has_tls else None,
            request_nonce=members.text(nats, "request_nonce"),
        )

    def check(self, report: Report) -> None:
        """Note everything that is wrong with the claims."""
        Claims.check(self, report)
        report.key(self.user_nkey, Prefix.USER, "the user_nkey")


@dataclass(slots=True, kw_only=True)
class AuthorizationResponseClaims(Claims):
    """The answer: a user JWT, or why there is none.

    Args:
        jwt: A JWT for the request's ``user_nkey``.
        error: Why the client may not connect.
        issuer_account: The account, where one of its signing keys signs.
    """

    KIND: ClassVar[str] = "authorization_response"
    ISSUERS: ClassVar[tuple[Prefix, ...]] = (Prefix.ACCOUNT,)
    SUBJECTS: ClassVar[tuple[Prefix, ...]] = ()

    jwt: str = field(default="", repr=False)
    error: str = ""
    issuer_account: str = ""

    def body(self) -> dict[str, Any]:
        """The ``nats`` member."""
        return (
            members.compact(
                {
                    "jwt": self.jwt,
                    "error": self.error,
                    "issuer_account": self.issuer_account,
                }
            )
            | self.trailer()
        )

    @classmethod
    def read(cls, payload: Json, nats: Json) -> Self:
        """The claims in a payload."""
        members.known(nats, _RESPONSE)
        return cls(
            **shared(payload, nats),
            jwt=members.text(nats, "jwt"),
            error=members.text(nats, "error"),
            issuer_account=members.text(nats, "issuer_account"),
        )

    def check(self, report: Report) -> None:
        """Note everything that is wrong with the claims."""
        Claims.check(self, report)
        report.key(self.subject, Prefix.USER, "the subject")
        report.key(self.audience, Prefix.SERVER, "the audience")
        if bool(self.jwt) == bool(self.error):
            report.error("an answer holds either a JWT or an error")
        if self.issuer_account:
            report.key(self.issuer_account, Prefix.ACCOUNT, "the issuer_account")
