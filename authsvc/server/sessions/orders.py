"""What can be asked of the desk that issues credentials, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from authsvc.dpop import Proof
from authsvc.nkey import PublicKey
from authsvc.server.audit import Actor
from authsvc.server.login import Identity

__all__ = ["Admission", "Assignment", "Issued", "Limits", "Login", "Order", "Proved", "Renewal"]

RENEW_SHARE = 2 / 3
"""How much of a credential's life has passed when its holder should renew."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the settings say about every credential; times in seconds.

    Args:
        ttl: The longest life of a JWT.
        grace: For how long after its end a JWT can still be renewed.
        session: For how long after a login its credential can be renewed.
        subscriptions: How many subscriptions a connection may hold.
        payload: Bytes in one message, at most.
        create_users: Whether a first login creates its user.
        admissions: How many connections by auth callout a user may make in the life of a JWT.
        failures: How many failed logins a login may follow on.
    """

    ttl: int
    grace: int
    session: int
    subscriptions: int
    payload: int
    create_users: bool
    admissions: int = 200
    failures: int = 5


@dataclass(slots=True, kw_only=True)
class Order:
    """A credential is wanted for an nkey.

    Args:
        request_id: The HTTP request's id, for the audit.
        address: Where the request came from, for the audit.
        now: Seconds since the epoch.
    """

    request_id: str
    address: str
    now: float

    @property
    def public_key(self) -> str:
        """The nkey."""
        raise NotImplementedError

    @property
    def details(self) -> dict[str, str]:
        """What else the audit says of it."""
        return {}


@dataclass(slots=True, kw_only=True)
class Proved(Order):
    """By the holder of the nkey.

    Args:
        proof: The proof of possession that held; it is used up by this order.
    """

    proof: Proof

    @property
    def public_key(self) -> str:
        """The nkey that was proved."""
        return self.proof.public_key.text


@dataclass(slots=True, kw_only=True)
class Login(Proved):
    """By a login method: a new credential, or a new JWT for the one that the key has.

    Args:
        identity: What the login method proved.
        name: What the user calls the credential; keeps the old name where None.
        ttl: A shorter life than the settings give, in seconds.
        app: The one app (raw name) that the credential is narrowed to.
        attempt: Under what failures before it were counted, if they were.
    """

    identity: Identity
    name: str | None = None
    ttl: int | None = None
    app: str | None = None
    attempt: bytes | None = None

    @property
    def method(self) -> str:
        """How the user was proved."""
        return self.identity.method

    @property
    def details(self) -> dict[str, str]:
        """What was used up for it, if anything."""
        ticket = self.identity.ticket
        if ticket is None:
            return {}
        tags = {"tags": ",".join(ticket.tags)} if ticket.tags else {}
        return {ticket.kind: ticket.id, **tags}


@dataclass(slots=True, kw_only=True)
class Renewal(Proved):
    """By the JWT that the key has already.

    Args:
        credential: The credential's id, from the JWT's tag.
        issuer: The account signing key that signed the JWT.
        expires_at: When the JWT ends or ended, in seconds since the epoch.
    """

    credential: str
    issuer: str
    expires_at: int


@dataclass(slots=True, kw_only=True)
class Assignment(Order):
    """By an administrator, for a user who exists; nobody proved to hold the nkey.

    Args:
        actor: The administrator.
        user_id: For whom.
        key: The user's nkey.
        name: What the credential is called; keeps the old name where None.
        ttl: A shorter life than the settings give, in seconds.
        app: The one app (raw name) that the credential is narrowed to.
    """

    actor: Actor
    user_id: str
    key: PublicKey
    name: str | None = None
    ttl: int | None = None
    app: str | None = None

    @property
    def public_key(self) -> str:
        """The nkey, as the administrator gave it or had it made."""
        return self.key.text

    @property
    def method(self) -> str:
        """What listings say of how the user was proved."""
        return "admin"


@dataclass(slots=True, kw_only=True)
class Admission(Order):
    """By a login method, for a connection that nats-server holds meanwhile (auth callout).

    Args:
        identity: What the login method proved.
        key: The nkey that nats-server made for this connection; nobody has its seed.
        server: The nats-server's name, for the audit.
        name: What the client calls its connection.
        attempt: Under what failures before it were counted, if they were.
    """

    METHOD: ClassVar[str] = "callout"
    """What listings say of how the user was proved."""
    ttl: ClassVar[int | None] = None
    app: ClassVar[str | None] = None

    identity: Identity
    key: PublicKey
    server: str
    name: str = ""
    attempt: bytes | None = None

    @property
    def public_key(self) -> str:
        """The connection's nkey."""
        return self.key.text

    @property
    def method(self) -> str:
        """The same for all of them; the audit says which login method it was."""
        return self.METHOD

    @property
    def details(self) -> dict[str, str]:
        """Which login method it was, and which nats-server asked."""
        return {"login": self.identity.method, "server": self.server}


@dataclass(slots=True, kw_only=True)
class Issued:
    """A credential with a JWT that is committed; times are seconds since the epoch."""

    id: str
    username: str
    token: str
    public_key: str
    account: str
    jwt: str = field(repr=False)
    name: str
    app: str | None
    issued_at: int
    expires_at: int

    @property
    def renew_after(self) -> float:
        """When the holder should renew."""
        return self.issued_at + (self.expires_at - self.issued_at) * RENEW_SHARE
