"""What ``authsvc key ... --dry-run`` says; nothing is changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from authsvc.cli import loop
from authsvc.errors import Conflict, NotFound

if TYPE_CHECKING:
    from authsvc.admin_client import AdminApi

__all__ = ["master", "retiring", "rotating", "say", "stored"]


def rotating(api: AdminApi, account: str, step: str) -> tuple[str, dict[str, Any]]:
    """What rotating would do, and the key that signs now or waits.

    Raises:
        NotFound: There is no such account.
        Conflict: There is no key to activate.
    """
    keys = _signing(api, account)
    signs = next((it for it in keys if it["signs"]), keys[-1])
    waits = next((it for it in keys if it["state"] == "prepared"), None)
    if step == "activate":
        if waits is None:
            raise Conflict("there is no prepared key: `authsvc key rotate --step prepare` makes it")
        return f"let {waits['public_key']} sign in place of {signs['public_key']}", waits
    if waits is not None:
        return f"go on with {waits['public_key']}, which is prepared", waits
    then = "let it sign in place of" if step == "all" else "prepare it beside"
    return f"make a signing key for {account} and {then} {signs['public_key']}", signs


def retiring(api: AdminApi, account: str, public_key: str | None) -> tuple[str, dict[str, Any]]:
    """What retiring would do, and the key.

    Raises:
        NotFound: There is no such key, or none that signs no more.
    """
    keys = [it for it in _signing(api, account) if it["state"] == "active" and not it["signs"]]
    if public_key is not None:
        keys = [it for it in keys if it["public_key"] == public_key]
    if not keys:
        raise NotFound("there is no such key that signs no more: `authsvc key list`")
    found = keys[0]
    cut = found["credentials"] or 0
    return f"retire {found['public_key']}, by which {cut} live credentials are signed", found


def stored(data_dir: Path | None, name: str) -> dict[str, Any]:
    """A key in the store, by name or public key; never the private one.

    Raises:
        NotFound: There is none.
        Unavailable: There is no store, or it can't be reached.
    """
    return loop.run(_stored(data_dir, name))


def master(data_dir: Path | None) -> dict[str, Any]:
    """Where the master key is that would be changed.

    Raises:
        Unavailable: There is no store, or it can't be reached.
        StartRefused: The master key does not fit.
    """
    return loop.run(_master(data_dir))


def say(what: str, about: dict[str, Any], *, as_json: bool) -> None:
    """Print it."""
    if as_json:
        print(json.dumps({"dry_run": True, "would": what, "about": about}))
    else:
        print(f"would {what}")


def _signing(api: AdminApi, account: str) -> list[dict[str, Any]]:
    keys = [
        it
        for it in api.pages("/v1/admin/keys")
        if it["purpose"] == "signing" and account in {it["account"] or it["owner"], it["name"]}
    ]
    if not keys:
        raise NotFound(f"there is no signing key of {account}: `authsvc key list`")
    return sorted(keys, key=lambda it: int(it["generation"]))


async def _stored(data_dir: Path | None, name: str) -> dict[str, Any]:
    from authsvc.cli.store import open_local  # noqa: PLC0415
    from authsvc.server.rotation.custody import find_key  # noqa: PLC0415

    async with open_local(data_dir) as store, store.database.reading() as session:
        key = await find_key(session, name)
        return {
            "public_key": key.public_key,
            "held": bool(key.sealed_seed),
            "exported": key.exported_at is not None,
        }


async def _master(data_dir: Path | None) -> dict[str, Any]:
    from authsvc.cli.store import open_local  # noqa: PLC0415

    async with open_local(data_dir) as store:
        own = store.settings.master_key is None
        where = str(store.settings.data_dir / "master.key") if own else "AUTHSVC_MASTER_KEY"
        return {"master_key": where}
