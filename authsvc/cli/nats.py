"""``authsvc nats config``: what an external nats-server needs."""

from __future__ import annotations

from authsvc.server.app import open_store
from authsvc.server.provision.external import External, external_config
from authsvc.server.settings import Settings

__all__ = ["config_text"]


async def config_text(settings: Settings, external: External) -> str:
    """The configuration's text; the operator is made if this is the first start.

    Raises:
        StartRefused: An address or a combination that can't be used.
        StoreUnavailable: The database can't be reached.
    """
    async with open_store(settings) as store:
        return external_config(
            external,
            operator=store.material.operator_jwt,
            system_account=store.material.system,
            preload=await store.account_jwts(),
            max_payload=settings.max_payload,
        )
