"""One known text in the database, which tells the right master key from a wrong one."""

from __future__ import annotations

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from authsvc.errors import KeyUnavailable, WrongMasterKey
from authsvc.server.keystore.files import HELP
from authsvc.server.keystore.seals import Keystore
from authsvc.server.models import KeystoreCheck

__all__ = ["CHECK_CONTEXT", "is_new", "verify_master_key"]

CHECK_CONTEXT = "keystore check"
_CHECK = b"authsvc keystore check"


async def verify_master_key(
    session: AsyncSession, keystore: Keystore, *, hold: bool = False
) -> None:
    """Check the master key against the database; the first start writes what is checked.

    From then on the keystore seals by the master key that the database is at.

    Args:
        session: One that writes.
        keystore: With the master key in question.
        hold: Whether something is sealed in this transaction: the master key then can't change
            before that is written.

    Raises:
        WrongMasterKey: The database was made under another one.
    """
    row = await _row(session, hold=hold)
    if row is None:
        dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
        sealed = keystore.seal_bytes(_CHECK, CHECK_CONTEXT)
        statement = dialect.insert(KeystoreCheck).values(id=1, sealed=sealed)
        # Replicas may start for the first time together: one writes, all check what it wrote.
        await session.execute(statement.on_conflict_do_nothing())
        row = await _row(session, hold=hold)
    try:
        if row is not None and keystore.open_bytes(row.sealed, CHECK_CONTEXT) == _CHECK:
            keystore.follow(row.sealed)
            return
    except KeyUnavailable:
        pass
    raise WrongMasterKey(
        f"the master key is not the one that this database's keys were sealed with: {HELP}"
    )


async def is_new(session: AsyncSession) -> bool:
    """Whether nothing was sealed in this database yet."""
    return await _row(session, hold=False) is None


async def _row(session: AsyncSession, *, hold: bool) -> KeystoreCheck | None:
    lock = {"read": True} if hold else None
    return await session.get(KeystoreCheck, 1, with_for_update=lock, populate_existing=True)
