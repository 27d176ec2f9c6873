"""What an external nats-server is told: options as the command line and the API name them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from authsvc.errors import StartRefused
from authsvc.server.provision.config import (
    Callout,
    Cluster,
    Listen,
    Tls,
    WebSocket,
    accounts_config,
    operator_config,
)

__all__ = ["TLS_FILES", "External", "external_config", "host_port"]


@dataclass(frozen=True, slots=True)
class External:
    """How an external nats-server shall listen; addresses are ``host:port``.

    Args:
        server_name: Unique in the cluster.
        listen: For clients.
        store_dir: A folder on the server's machine that belongs to it alone.
        ws_listen: For websockets.
        monitor: For the monitoring pages; always on loopback.
        tls: Whether all listeners speak TLS; the files are ``TLS_FILES`` where no others are named.
        tls_cert: Path of the certificate for clients and websockets, on the server's machine.
        tls_key: Path of its key.
        tls_ca: Path of who signs the certificates of other servers, for routes.
        accounts_only: Whether only operator, accounts and the bounds that hang on them are said,
            for a configuration that says everything else, such as that of NATS's Helm chart.
        advertise: What clients of a cluster are told instead of ``listen``.
        no_advertise: Whether clients are told of no other servers, because those know one another
            by addresses that clients can't use; they have all from the service.
        cluster: The cluster's name, the same on each of its servers.
        cluster_listen: For routes.
        routes: ``nats://host:port`` of the servers' route ports; its own may be among them.
        cluster_tls_cert: Path of the certificate for routes; with ``tls`` that for clients unless
            given, and so the other two.
        cluster_tls_key: Path of its key.
        cluster_tls_ca: Path of who signs the routes' certificates.
        private_network: Whether nobody else can reach the route port; no TLS is needed then.
    """

    server_name: str = "authsvc-nats"
    listen: str = "0.0.0.0:4222"
    store_dir: str = "/data"
    ws_listen: str | None = None
    monitor: str | None = None
    tls: bool = False
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_ca: str | None = None
    accounts_only: bool = False
    advertise: str | None = None
    cluster: str | None = None
    cluster_listen: str = "0.0.0.0:6222"
    routes: tuple[str, ...] = ()
    cluster_tls_cert: str | None = None
    cluster_tls_key: str | None = None
    cluster_tls_ca: str | None = None
    private_network: bool = False
    no_advertise: bool = False


TLS_FILES = ("/etc/nats/tls/tls.crt", "/etc/nats/tls/tls.key", "/etc/nats/tls/ca.crt")
"""Certificate, key and authority; the names in a Kubernetes secret of the type tls."""


def host_port(text: str) -> tuple[str, int]:
    """``host:port`` taken apart; IPv6 in brackets.

    Raises:
        StartRefused: It is something else.
    """
    host, _, port = text.rpartition(":")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:  # noqa: PLR2004
        raise StartRefused(f"{text!r} is no host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def external_config(
    external: External,
    *,
    operator: str,
    system_account: str,
    preload: Mapping[str, str],
    max_payload: int,
    callout: Callout | None = None,
) -> str:
    """The configuration's text; no secret is in it.

    Args:
        external: How the server shall listen.
        operator: The operator JWT.
        system_account: Public key of the system account.
        preload: Account JWTs by public key.
        max_payload: Largest message, bytes.
        callout: For clients without a user JWT, if they may come.

    Raises:
        StartRefused: An address or a combination that can't be used.
    """
    external = _with_tls(external)
    tls = _tls(external.tls_cert, external.tls_key, None, "--tls-cert and --tls-key")
    if external.accounts_only:
        return accounts_config(
            operator=operator,
            system_account=system_account,
            preload=preload,
            max_payload=max_payload,
            callout=callout,
        )
    host, port = host_port(external.listen)
    websocket = None
    if external.ws_listen:
        ws_host, ws_port = host_port(external.ws_listen)
        websocket = WebSocket(ws_host, ws_port, tls=tls, tls_elsewhere=tls is None)
    return operator_config(
        Listen(host, port, tls=tls, advertise=external.advertise),
        operator=operator,
        system_account=system_account,
        preload=preload,
        server_name=external.server_name,
        data_dir=external.store_dir,
        websocket=websocket,
        cluster=_cluster(external),
        monitor_port=_monitor_port(external.monitor),
        max_payload=max_payload,
        callout=callout,
    )


def _with_tls(external: External) -> External:
    """The same with the files that ``tls`` stands for."""
    if not external.tls:
        if external.tls_ca:
            raise StartRefused("--tls-ca is for routes: use --tls with it, or --cluster-tls-ca")
        return external
    cert, key, ca = (
        given or usual
        for given, usual in zip(
            (external.tls_cert, external.tls_key, external.tls_ca), TLS_FILES, strict=True
        )
    )
    return replace(
        external,
        tls_cert=cert,
        tls_key=key,
        cluster_tls_cert=external.cluster_tls_cert or cert,
        cluster_tls_key=external.cluster_tls_key or key,
        cluster_tls_ca=external.cluster_tls_ca or ca,
    )


def _monitor_port(text: str | None) -> int | None:
    if not text:
        return None
    host, port = host_port(text)
    if host not in {"127.0.0.1", "localhost"}:
        raise StartRefused(
            f"monitoring on {host} would tell everybody who is connected: use 127.0.0.1:{port}"
        )
    return port


def _tls(cert: str | None, key: str | None, ca: str | None, what: str) -> Tls | None:
    if bool(cert) != bool(key):
        raise StartRefused(f"TLS needs both {what}")
    return Tls(cert, key, ca, verify=ca is not None) if cert and key else None


def _cluster(external: External) -> Cluster | None:
    if not external.cluster:
        if external.routes:
            raise StartRefused("routes need the name of a cluster: --cluster NAME")
        return None
    for route in external.routes:
        try:
            parts = urlsplit(route)
            complete = parts.scheme in {"nats", "tls"} and parts.hostname and parts.port
        except ValueError:
            complete = False
        if not complete:
            raise StartRefused(f"the route {route!r} is no nats://host:port")
    host, port = host_port(external.cluster_listen)
    return Cluster(
        external.cluster,
        host,
        port,
        external.routes,
        tls=_tls(
            external.cluster_tls_cert,
            external.cluster_tls_key,
            external.cluster_tls_ca,
            "--cluster-tls-cert and --cluster-tls-key",
        ),
        private_network=external.private_network,
        no_advertise=external.no_advertise,
    )
