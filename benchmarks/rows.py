"""Rows by the hundred thousand, written past the API: users, their credentials, revocations."""

from __future__ import annotations

import secrets
import time
from typing import Any

from sqlalchemy import Table, insert, select
from sqlmodel import SQLModel, col

from authsvc.nkey import Prefix, PublicKey
from authsvc.server.database import Database
from authsvc.server.models import Account, Credential, User, new_id
from authsvc.server.provision.revisions import Cut, note_revocations
from authsvc.subjects import token

_AT_ONCE = 5000


def crowd_key() -> str:
    """A user nkey that nobody has the seed of."""
    return PublicKey(Prefix.USER, secrets.token_bytes(32)).text


def _table(model: type[SQLModel]) -> Table:
    found: Table = model.__table__  # type: ignore[attr-defined]
    return found


async def add_users(url: str, count: int) -> None:
    """So many users into a migrated database, each with a credential that lives."""
    now = int(time.time())
    database = Database(url)
    await database.start()
    try:
        for begin in range(0, count, _AT_ONCE):
            names = [f"crowd{place}@example.com" for place in range(begin, begin + _AT_ONCE)]
            users = [_user(name, now) for name in names[: count - begin]]
            async with database.writing() as session:
                await session.execute(insert(_table(User)), users)
                await session.execute(
                    insert(_table(Credential)), [_credential(user["id"], now) for user in users]
                )
    finally:
        await database.stop()


def _user(name: str, now: int) -> dict[str, Any]:
    return {
        "id": new_id("usr"),
        "username": name,
        "token": token(name),
        "kind": "email",
        "roles": [],
        "version": 1,
        "created_at": now,
        "last_login_at": now,
    }


def _credential(user: str, now: int) -> dict[str, Any]:
    return {
        "id": new_id("crd"),
        "user_id": user,
        "public_key": crowd_key(),
        "name": "",
        "method": "syftbox",
        "login_at": now,
        "issued_at": now,
        "expires_at": now + 3600,
        "alive_until": now + 3600,
        "jti": secrets.token_hex(26),
        "signer": "",
        "created_at": now,
    }


async def add_revocations(url: str, count: int) -> None:
    """So many entries into the people's account, none of which expires soon."""
    now = int(time.time())
    database = Database(url)
    await database.start()
    try:
        async with database.writing() as session:
            account = await session.scalar(
                select(col(Account.id)).where(col(Account.kind) == "people")
            )
            assert account is not None
            cuts = [Cut(crowd_key(), now, now + 86400) for _ in range(count)]
            await note_revocations(session, cuts, account_id=account, now=now)
    finally:
        await database.stop()
