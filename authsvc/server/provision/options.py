"""What a nats-server can be told about where it listens, stores and logs. Values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Callout", "Cluster", "JetStream", "Listen", "Log", "Tls", "WebSocket"]


@dataclass(frozen=True, slots=True)
class Tls:
    """Files for TLS, as nats-server reads them.

    Args:
        cert_file: The server's certificate chain, PEM.
        key_file: Its private key, PEM.
        ca_file: Who signs the certificates of the other side, if not the system's authorities.
        verify: Whether the other side must show a certificate too.
    """

    cert_file: str
    key_file: str
    ca_file: str | None = None
    verify: bool = False


@dataclass(frozen=True, slots=True)
class Listen:
    """Where clients connect.

    Args:
        host: An address to bind; ``0.0.0.0`` or ``::`` for all.
        port: The TCP port.
        tls: With it, every client must speak TLS.
        advertise: ``host:port`` told to clients of a cluster instead of the address bound.
    """

    host: str
    port: int
    tls: Tls | None = None
    advertise: str | None = None


@dataclass(frozen=True, slots=True)
class WebSocket:
    """Where clients connect by websocket.

    Args:
        host: An address to bind.
        port: The TCP port.
        tls: With it, ``wss://``.
        tls_elsewhere: Whether a proxy in front ends TLS; plain ``ws://`` is allowed then even
            where it isn't loopback.
        allowed_origins: The web origins that may connect; any if empty.
    """

    host: str
    port: int
    tls: Tls | None = None
    tls_elsewhere: bool = False
    allowed_origins: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Cluster:
    """The other servers. Whoever can open a route is trusted wholly.

    Args:
        name: The cluster's name, the same on every server.
        host: An address to bind for routes.
        port: The TCP port for routes.
        routes: ``nats://host:port`` of the others' route ports.
        tls: Needed off loopback, with ``verify``: it is what keeps strangers from opening routes.
        private_network: Whether nobody else can reach the route port; it may go without TLS then.
        no_advertise: Whether clients are told of no other servers of the cluster.
    """

    name: str
    host: str
    port: int
    routes: Sequence[str]
    tls: Tls | None = None
    private_network: bool = False
    no_advertise: bool = False


@dataclass(frozen=True, slots=True)
class Callout:
    """For clients that come without a user JWT of their own.

    Args:
        sentinel: The JWT that counts as theirs: of a user who may do nothing, in an account that
            the service decides about.
        max_subscriptions: Of any connection, with a JWT or without; those without have no other
            bound.
    """

    sentinel: str
    max_subscriptions: int


@dataclass(frozen=True, slots=True)
class Log:
    """A log file that nats-server rotates by itself.

    Args:
        path: The file.
        max_bytes: Its largest size; then it is set aside.
        max_files: How many files are kept, the current one included.
    """

    path: str
    max_bytes: int = 16 * 1024 * 1024
    max_files: int = 4


@dataclass(frozen=True, slots=True)
class JetStream:
    """How messages are stored; nats-server's own bounds where None.

    Args:
        max_memory: Bytes of memory.
        max_file: Bytes on disk.
        feature_flags: Of nats-server, such as ``js_ack_fc_v2``, the second form of ack subjects.
    """

    max_memory: int | None = None
    max_file: int | None = None
    feature_flags: Mapping[str, bool] = field(default_factory=dict)
