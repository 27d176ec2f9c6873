"""What ``authsvc key`` does in the store itself: the database and the master key."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from authsvc.cli.store import open_local
from authsvc.errors import Forbidden
from authsvc.nkey import KeyPair
from authsvc.server import audit
from authsvc.server.rotation import change_master_key, export_seed, import_seed, remove_seed

__all__ = ["export", "remove", "rotate_master", "take_back"]

_CONTEXT = audit.Context(audit.Actor("service", "authsvc key"), "", "")


async def export(data_dir: Path | None, name: str, output: Path, *, again: bool) -> str:
    """Write a private key to a new file; returns the public key."""
    async with open_local(data_dir) as store:
        written = False
        try:
            async with store.database.writing() as session:
                pair = await export_seed(
                    session,
                    store.keystore,
                    name,
                    context=_CONTEXT,
                    now=int(time.time()),
                    confirm=again,
                )
                _write_new(output, pair.seed + "\n")
                written = True
        except BaseException:
            # It must not leave unless its event is written.
            if written:
                _remove(output)
            raise
        return pair.public.text


async def remove(data_dir: Path | None, name: str, *, anyway: bool) -> str:
    """Forget a private key; returns the public key."""
    async with open_local(data_dir) as store, store.database.writing() as session:
        key = await remove_seed(
            session, name, context=_CONTEXT, now=int(time.time()), confirm=anyway
        )
        return key.public_key


async def take_back(data_dir: Path | None, pair: KeyPair) -> str:
    """Keep a private key that was removed; returns the public key."""
    async with open_local(data_dir) as store, store.database.writing() as session:
        key = await import_seed(
            session, store.keystore, pair, context=_CONTEXT, now=int(time.time())
        )
        return key.public_key


async def rotate_master(data_dir: Path | None, *, confirm: bool) -> dict[str, Any]:
    """Change the master key; returns what ``Changed`` says.

    Raises:
        Forbidden: Other replicas may have copies of the file, and it was not confirmed.
    """
    async with open_local(data_dir) as store:
        if store.settings.master_key is None and not store.database.is_sqlite and not confirm:
            raise Forbidden(
                "the master key is a file here: every replica must read this very file, or get "
                "the new one right afterwards; say --yes if that is so, or use AUTHSVC_MASTER_KEY"
            )
        changed = await change_master_key(
            store.settings,
            store.database,
            store.keystore,
            context=_CONTEXT,
            now=int(time.time()),
        )
        return asdict(changed)


def _write_new(path: Path, text: str) -> None:
    """Write a file that must not be there yet, readable by its owner only."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
