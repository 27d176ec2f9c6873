"""An API key made in the database itself: the first one of all, where ``authsvc serve`` runs."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Any

from authsvc.cli.store import open_local
from authsvc.errors import InvalidInput
from authsvc.server import api_keys, audit

__all__ = ["make"]

_CONTEXT = audit.Context(audit.Actor("service", "authsvc api-key"), "", "")


async def make(
    data_dir: Path | None, name: str, scopes: list[str], expires_at: str | None
) -> dict[str, Any]:
    """Make it, noted in the audit; ``key`` is its text.

    Args:
        data_dir: Where master key and database are, unless settings say more.
        name: What it is for.
        scopes: What it may do.
        expires_at: RFC 3339; never if None.

    Raises:
        InvalidInput: There is no such scope, or the time is over.
        Unavailable: There is no database, or it can't be reached.
    """
    for scope in scopes:
        if scope not in api_keys.SCOPES:
            raise InvalidInput(
                f"there is no scope {scope!r}; there is {', '.join(api_keys.SCOPES)}"
            )
    now = time.time()
    ends = int(datetime.fromisoformat(expires_at).timestamp()) if expires_at else None
    if ends is not None and ends <= now:
        raise InvalidInput("--expires is over already")
    async with open_local(data_dir) as store, store.database.writing() as session:
        text, key = await api_keys.create_api_key(
            session, name, scopes, expires_at=ends, context=_CONTEXT, now=now
        )
        return {
            "id": key.id,
            "name": key.name,
            "prefix": key.prefix,
            "scopes": key.scopes,
            "expires_at": expires_at,
            "key": text,
        }
