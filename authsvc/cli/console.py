"""``authsvc console``: a link that signs in to the admin console once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from authsvc.cli.context import AsJson, ContextDir, admin_api

if TYPE_CHECKING:
    from authsvc.server.running import Running

__all__ = ["console", "console_link"]


def console(*, data_dir: ContextDir = None, as_json: AsJson = False) -> None:
    """Print a link that signs a browser in to the admin console, once, within 30 minutes.

    It brings the rights of the API key that is used here. Give it to nobody.

    Example: authsvc console
    """
    with admin_api(data_dir) as api:
        made = api.post("/v1/admin/console-links")
    print(json.dumps(made) if as_json else made["url"])


async def console_link(running: Running) -> str:
    """The same for ``authsvc up``, with the rights of the API key in its ``context.json``.

    Args:
        running: The service; its context is written already.

    Raises:
        StartRefused: The context can't be used.
        StoreUnavailable: The database can't be reached.
    """
    import time  # noqa: PLC0415 - commands start quickly

    from authsvc.cli.context import find_context  # noqa: PLC0415
    from authsvc.server import audit  # noqa: PLC0415
    from authsvc.server.api.admin.console_links import link_url  # noqa: PLC0415
    from authsvc.server.console_sessions import create_link, find_key  # noqa: PLC0415

    context = find_context(running.settings.data_dir)
    itself = audit.Context(audit.Actor("service", "authsvc up"), "", "")
    async with running.database.writing() as session:
        key = await find_key(session, context.api_key)
        secret, _ = await create_link(session, key.id, context=itself, now=time.time())
    return link_url(running.public_url, secret)
