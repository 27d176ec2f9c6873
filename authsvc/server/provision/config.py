"""The text of nats-server's configuration in operator mode. Pure.

    text = operator_config(
        Listen("127.0.0.1", 4222), operator=jwt, system_account="A...", preload={"A...": jwt},
        server_name="authsvc-1", data_dir="/var/lib/authsvc/nats",
    )

There is no way to write ``no_auth_user`` here: every connection shows a user JWT, or proves
by auth callout who it is. The options and how they are spelled: nats-server's ``server/opts.go``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address

from authsvc.errors import StartRefused
from authsvc.server.provision.conf_format import Value, render
from authsvc.server.provision.options import (
    Callout,
    Cluster,
    JetStream,
    Listen,
    Log,
    Tls,
    WebSocket,
)

__all__ = [
    "Callout",
    "Cluster",
    "JetStream",
    "Listen",
    "Log",
    "Tls",
    "WebSocket",
    "accounts_config",
    "is_loopback",
    "operator_config",
]

RESOLVER_INTERVAL = "5s"
"""How often servers compare their account JWTs. Until then, one that was down during a push would
accept what was revoked, so nats-server's minute is too long."""

ROUTE_PING, ROUTE_PINGS = "3s", 3
"""A route whose other end is silent for nine to twelve seconds is given up and dialled anew each
second. nats-server's 30 s and two pings would leave a mended network unused for as long as it was
broken, up to two minutes: so long TCP waits before it tries again."""

MAX_ACCOUNTS = 10_000
DEFAULT_MAX_PAYLOAD = 8 * 1024 * 1024
LEAST_MAX_PAYLOAD = 2 * 1024 * 1024
"""An account JWT of up to 1 MiB must reach the resolver. Users are bound by their own JWT."""

_HEAD = "# Written by authsvc; changes are overwritten. It holds no secrets.\n"
_NAME = re.compile(r"[^\s\x00-\x1f\x7f]+\Z")


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
    callout: Callout | None = None,
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
        callout: For clients without a user JWT, if they may come.
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
        **_accounts(operator, system_account, preload, max_payload, callout),
        "resolver": {
            "type": "full",
            "dir": f"{data_dir}/accounts",
            "allow_delete": False,
            "interval": RESOLVER_INTERVAL,
            "limit": MAX_ACCOUNTS,
            "timeout": "2s",
        },
        **_jetstream(jetstream or JetStream(), data_dir),
        **_listeners(listen, websocket, cluster, monitor_port),
        **_files(log, pid_file, ports_dir),
    }
    return _HEAD + render(options)


def accounts_config(
    *,
    operator: str,
    system_account: str,
    preload: Mapping[str, str],
    max_payload: int = DEFAULT_MAX_PAYLOAD,
    callout: Callout | None = None,
) -> str:
    """Only who is trusted, to be included in a configuration that says the rest.

    It needs a full resolver beside it, as ``operator_config`` writes it.

    Args:
        operator: The operator JWT.
        system_account: Public key of the system account.
        preload: Account JWTs by public key.
        max_payload: Largest message, bytes; never less than an account JWT needs.
        callout: For clients without a user JWT, if they may come.
    """
    return _HEAD + render(_accounts(operator, system_account, preload, max_payload, callout))


def _accounts(
    operator: str,
    system_account: str,
    preload: Mapping[str, str],
    max_payload: int,
    callout: Callout | None,
) -> dict[str, Value]:
    return {
        "max_payload": max(max_payload, LEAST_MAX_PAYLOAD),
        "operator": operator,
        "system_account": system_account,
        "resolver_preload": dict(preload),
        **_callout(callout),
    }


def _callout(callout: Callout | None) -> dict[str, Value]:
    if callout is None:
        return {}
    return {
        "default_sentinel": callout.sentinel,
        "max_subscriptions": callout.max_subscriptions,
    }


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
        "ping_interval": ROUTE_PING,
        "ping_max": ROUTE_PINGS,
    }
    if cluster.no_advertise:
        section["no_advertise"] = True
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
