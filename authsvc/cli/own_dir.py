"""The data directory of ``authsvc up``: claimed by one process, and found by the other commands."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

from sqlalchemy import select
from sqlmodel import col

from authsvc.server import api_keys
from authsvc.server.models import ApiKey
from authsvc.server.private import write_private
from authsvc.server.provision.stale import Claim
from authsvc.server.running import Running

__all__ = ["LOCK", "claimed", "write_context"]

LOCK = "up.lock"
_CONTEXT = "context.json"


def claimed(data_dir: Path) -> Claim:
    """The data directory for one process alone: known before anything in it is touched."""
    where = ""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        where = f" (it is at {json.loads((data_dir / _CONTEXT).read_text())['url']})"
    return Claim(
        data_dir,
        lock=LOCK,
        deed="runs in",
        advice=f"Use that one{where}, stop it, or choose another directory with --data-dir.",
    )


async def write_context(running: Running, nats_url: str) -> None:
    """``context.json``: how the other commands find this service. The API key stays the same."""
    path = running.settings.data_dir / _CONTEXT
    key = ""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        key = str(json.loads(path.read_text()).get("api_key", ""))
    async with running.database.writing() as session:
        known = await session.scalar(
            select(ApiKey).where(col(ApiKey.digest) == api_keys.digest(key))
        )
        if known is None or known.revoked_at is not None:
            key, row = api_keys.make("authsvc up", ["admin"], int(time.time()))
            session.add(row)
    context = {"url": running.public_url, "api_key": key, "nats_url": nats_url}
    write_private(path, json.dumps(context, indent=2) + "\n")
