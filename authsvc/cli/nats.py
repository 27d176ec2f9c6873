"""``authsvc nats config``: what an external nats-server needs."""

from __future__ import annotations

from dataclasses import dataclass

from authsvc.errors import StartRefused
from authsvc.server.app import open_store
from authsvc.server.provision.config import Listen, Tls, WebSocket, operator_config
from authsvc.server.provision.door import callout_option
from authsvc.server.settings import Settings

__all__ = ["External", "config_text", "host_port"]


@dataclass(frozen=True, slots=True)
class External:
    """How an external nats-server shall listen; addresses are ``host:port``."""

    server_name: str
    listen: str
    store_dir: str
    ws_listen: str | None
    monitor: str | None
    tls_cert: str | None
    tls_key: str | None


def host_port(text: str) -> tuple[str, int]:
    """``host:port`` taken apart; IPv6 in brackets.

    Raises:
        StartRefused: It is something else.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise StartRefused(f"{text!r} is no host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


async def config_text(settings: Settings, external: External) -> str:
    """The configuration's text; the operator is made if this is the first start.

    Raises:
        StartRefused: An address or a combination that can't be used.
        StoreUnavailable: The database can't be reached.
    """
    if bool(external.tls_cert) != bool(external.tls_key):
        raise StartRefused("TLS needs both --tls-cert and --tls-key")
    tls = (
        Tls(external.tls_cert, external.tls_key) if external.tls_cert and external.tls_key else None
    )
    host, port = host_port(external.listen)
    websocket = None
    if external.ws_listen:
        ws_host, ws_port = host_port(external.ws_listen)
        websocket = WebSocket(ws_host, ws_port, tls=tls, tls_elsewhere=tls is None)
    async with open_store(settings) as store:
        return operator_config(
            Listen(host, port, tls=tls),
            operator=store.material.operator_jwt,
            system_account=store.material.system,
            preload=await store.account_jwts(),
            server_name=external.server_name,
            data_dir=external.store_dir,
            websocket=websocket,
            monitor_port=host_port(external.monitor)[1] if external.monitor else None,
            max_payload=settings.max_payload,
            callout=callout_option(store.door, settings),
        )
