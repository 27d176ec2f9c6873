"""The text of nats-server's configuration in operator mode. Pure.

    text = operator_config(
        Listen("127.0.0.1", 4222), operator=jwt, system_account="A...", preload={"A...": jwt},
        server_name="authsvc-1", data_dir="/var/lib/authsvc/nats",
    )

There is no way to write ``no_auth_user`` here: every connection shows a user JWT. The options
and how they are spelled: nats-server's ``server/opts.go``; quoting: its ``conf/lex.go``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from authsvc.errors import StartRefused

__all__ = [
    "Cluster",
    "JetStream",
    "Listen",
    "Log",
    "Tls",
    "Value",
    "WebSocket",
    "is_loopback",
    "operator_config",
    "render",
]

Value = str | int | bool | Sequence["Value"] | Mapping[str, "Value"]
"""What an option may be given."""

RESOLVER_INTERVAL = "5s"
"""How often servers compare their account JWTs. Until then, one that was down during a push would
accept what was revoked, so nats-server's minute is too long."""

MAX_ACCOUNTS = 10_000
DEFAULT_MAX_PAYLOAD = 8 * 1024 * 1024
LEAST_MAX_PAYLOAD = 2 * 1024 * 1024
"""An account JWT of up to 1 MiB must reach the resolver. Users are bound by their own JWT."""

_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_PUBLIC_KEY = re.compile(r"[A-Z2-7]{56}\Z")
_NAME = re.compile(r"[^\s\x00-\x1f\x7f]+\Z")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


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
    """

    name: str
    host: str
    port: int
    routes: Sequence[str]
    tls: Tls | None = None
    private_network: bool = False


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


def operator_config(
    listen: Listen,
    *,
    operator: str,
    system_account: str,
    preload: Mapping[str, str],
    server_name: str,
    data_dir: str,
    websocket: WebSocket | None = None,
    cluster: Cluster | None = None,
    monitor_port: int | None = None,
    max_payload: int = DEFAULT_MAX_PAYLOAD,
    jetstream: JetStream | None = None,
    log: Log | None = None,
    pid_file: str | None = None,
    ports_dir: str | None = None,
) -> str:
    """The configuration text of one nats-server.

    Args:
        listen: Where clients connect.
        operator: The operator JWT.
        system_account: Public key of the system account.
        preload: Account JWTs by public key. nats-server keeps the one it has where that is newer.
        server_name: Unique in the cluster.
        data_dir: A folder that belongs to this server alone.
        websocket: Where clients connect by websocket, if they may.
        cluster: The other servers, if there are any.
        monitor_port: A port for the HTTP monitoring pages, on loopback only.
        max_payload: Largest message, bytes; never less than an account JWT needs.
        jetstream: Bounds of what is stored.
        log: The log file; standard error if None.
        pid_file: Where nats-server writes its process id.
        ports_dir: A folder where nats-server lists the ports it listens on.

    Raises:
        StartRefused: A listener would be open to strangers, or a name can't be used.
    """
    if not _NAME.match(server_name):
        raise StartRefused(f"The server name {server_name!r} must not be empty or hold spaces.")
    if system_account not in preload:
        raise StartRefused("The system account's JWT must be among those preloaded.")
    options: dict[str, Value] = {
        "server_name": server_name,
        "listen": _address(listen.host, listen.port),
        "max_payload": max(max_payload, LEAST_MAX_PAYLOAD),
        "operator": operator,
        "system_account": system_account,
        "resolver": {
            "type": "full",
            "dir": f"{data_dir}/accounts",
            "allow_delete": False,
            "interval": RESOLVER_INTERVAL,
            "limit": MAX_ACCOUNTS,
            "timeout": "2s",
        },
        "resolver_preload": dict(preload),
        **_jetstream(jetstream or JetStream(), data_dir),
        **_listeners(listen, websocket, cluster, monitor_port),
        **_files(log, pid_file, ports_dir),
    }
    return "# Written by authsvc; changes are overwritten. It holds no secrets.\n" + render(options)


def _jetstream(jetstream: JetStream, data_dir: str) -> dict[str, Value]:
    # strict: publish acks that are reflected into the JetStream API are refused only by it.
    # nats-server makes a folder called jetstream in store_dir.
    section: dict[str, Value] = {"store_dir": data_dir, "strict": True}
    if jetstream.max_memory is not None:
        section["max_memory_store"] = jetstream.max_memory
    if jetstream.max_file is not None:
        section["max_file_store"] = jetstream.max_file
    options: dict[str, Value] = {"jetstream": section}
    if jetstream.feature_flags:
        options["feature_flags"] = dict(jetstream.feature_flags)
    return options


def _listeners(
    listen: Listen, websocket: WebSocket | None, cluster: Cluster | None, monitor_port: int | None
) -> dict[str, Value]:
    options: dict[str, Value] = {}
    if listen.tls:
        options["tls"] = _tls(listen.tls)
    if listen.advertise:
        options["client_advertise"] = listen.advertise
    if websocket:
        options["websocket"] = _websocket(websocket)
    if cluster:
        options["cluster"] = _cluster(cluster)
    if monitor_port is not None:
        # The pages know no users, so they are never shown to other machines.
        options["http"] = _address("127.0.0.1", monitor_port)
    return options


def _files(log: Log | None, pid_file: str | None, ports_dir: str | None) -> dict[str, Value]:
    options: dict[str, Value] = {}
    if log:
        options["log_file"] = log.path
        options["logfile_size_limit"] = log.max_bytes
        options["logfile_max_num"] = log.max_files
    if pid_file:
        options["pid_file"] = pid_file
    if ports_dir:
        options["ports_file_dir"] = ports_dir
    return options


def _tls(tls: Tls) -> dict[str, Value]:
    section: dict[str, Value] = {"cert_file": tls.cert_file, "key_file": tls.key_file}
    if tls.ca_file:
        section["ca_file"] = tls.ca_file
    if tls.verify:
        section["verify"] = True
    return section


def _websocket(websocket: WebSocket) -> dict[str, Value]:
    section: dict[str, Value] = {"listen": _address(websocket.host, websocket.port)}
    if websocket.tls:
        section["tls"] = _tls(websocket.tls)
    elif websocket.tls_elsewhere or is_loopback(websocket.host):
        section["no_tls"] = True
    else:
        raise StartRefused(
            f"A websocket listener on {websocket.host} needs TLS: give it a certificate, bind it "
            "to 127.0.0.1, or say that a proxy in front of it ends TLS."
        )
    if websocket.allowed_origins:
        section["allowed_origins"] = list(websocket.allowed_origins)
    return section


def _cluster(cluster: Cluster) -> dict[str, Value]:
    if not _NAME.match(cluster.name):
        raise StartRefused(f"The cluster name {cluster.name!r} must not be empty or hold spaces.")
    verified = cluster.tls is not None and cluster.tls.verify
    if not (verified or cluster.private_network or is_loopback(cluster.host)):
        raise StartRefused(
            f"Routes on {cluster.host} need TLS with verified certificates: whoever can open a "
            "route is trusted wholly. Or say that the network is private."
        )
    section: dict[str, Value] = {
        "name": cluster.name,
        "listen": _address(cluster.host, cluster.port),
        "routes": list(cluster.routes),
    }
    if cluster.tls:
        section["tls"] = _tls(cluster.tls)
    return section


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener bound to the host."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def render(options: Mapping[str, Value], indent: str = "") -> str:
    """Options as nats-server reads them, one a line, nested ones in braces.

    Raises:
        StartRefused: A key or a text that the format can't carry.
    """
    lines = []
    for key, value in options.items():
        if not (_KEY.match(key) or _PUBLIC_KEY.match(key)):
            raise StartRefused(f"{key!r} is no name of an option.")
        if isinstance(value, Mapping):
            lines.append(f"{indent}{key} {{\n{render(value, indent + '  ')}{indent}}}\n")
        else:
            lines.append(f"{indent}{key}: {_value(value)}\n")
    return "".join(lines)


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Mapping):
        raise StartRefused("An option holds a list of sections, which is not written here.")
    return "[" + ", ".join(_value(item) for item in value) + "]"


def _quoted(text: str) -> str:
    if "\x00" in text:
        raise StartRefused(f"{text!r} holds a null character, which no option can carry.")
    return '"' + "".join(_ESCAPES.get(char) or _printable(char) for char in text) + '"'


def _printable(char: str) -> str:
    return f"\\x{ord(char):02X}" if char < " " or char == "\x7f" else char
