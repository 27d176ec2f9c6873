"""The service's own sealing: all that is not sealed yet, some seconds after it was done.

    sealer = Sealer(database, keystore, retention_days=0)
    sealer.start()
    await sealer.stop()

Every replica runs one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

import structlog
from sqlalchemy import func, select

from authsvc.errors import AuthsvcError, Conflict
from authsvc.server import metrics
from authsvc.server.audit import retention
from authsvc.server.audit.anchor import open_head
from authsvc.server.audit.sealing import limit_of, seal
from authsvc.server.database import Database
from authsvc.server.keystore import Keystore
from authsvc.server.models import AuditEvent

__all__ = ["Sealer"]

_LOOK_SECONDS = 1.0
_WAIT_MS = 3000
"""How long events wait while there are fewer than ``_MANY``."""
_MANY = 1000
_PAUSE_SECONDS = 0.08
"""Between batches when many wait: a batch takes some 10 ms of SQLite's write lock, and half as much
of the event loop's time, of which the most is to be others'."""
_RETENTION_SECONDS = 3600.0
_STOP_SECONDS = 5.0
_events = AuditEvent.__table__  # type: ignore[attr-defined]
_count = select(func.count(), func.min(_events.c.at)).where(_events.c.batch.is_(None))
log = structlog.get_logger("authsvc.audit")


class Sealer:
    """Seals and drops events while the service runs.

    Args:
        database: Where the events are.
        keystore: Opens the audit's key.
        retention_days: Days after which sealed events are dropped; 0: never.
    """

    def __init__(self, database: Database, keystore: Keystore, *, retention_days: int = 0) -> None:
        self._database = database
        self._keystore = keystore
        self._retention_days = retention_days
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._dropped = -_RETENTION_SECONDS
        self._told: str | None = None

    def start(self) -> None:
        """Begin; the audit has its key already."""
        self._task = asyncio.create_task(self._run(), name="authsvc-audit")

    async def stop(self) -> None:
        """End, after the batch that is being sealed."""
        self._stopping.set()
        if self._task is None:
            return
        await asyncio.wait({self._task}, timeout=_STOP_SECONDS)
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._round()
                self._told = None
            except Conflict:
                pass  # another process is at it
            except Exception as error:  # noqa: BLE001 - whatever it is, sealing goes on
                self._tell(error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._stopping.wait()

    def _tell(self, error: Exception) -> None:
        """Log why nothing is sealed, once for each reason."""
        text = f"{type(error).__name__}: {error}"
        if text != self._told:
            # A traceback says nothing about a database that is away or a head that is missing.
            trace = None if isinstance(error, AuthsvcError) else error
            log.error("audit not sealed", error=text, exc_info=trace)
            self._told = text

    async def _round(self) -> None:
        async with self._database.reading() as session:
            waiting, oldest = (await session.execute(_count)).one()
            head = await open_head(session, self._keystore)
        metrics.AUDIT_WAITING.set(waiting)
        metrics.AUDIT_SEALED.set(head.sealed_at)
        if waiting >= _MANY or (waiting and oldest <= time.time() * 1000 - _WAIT_MS):
            await self._seal_all()
        if self._retention_days and time.monotonic() - self._dropped >= _RETENTION_SECONDS:
            await retention.drop(self._database, self._keystore, self._retention_days, time.time())
            self._dropped = time.monotonic()

    async def _seal_all(self) -> None:
        while await seal(self._database, self._keystore, time.time()) == limit_of(self._database):
            if self._stopping.is_set():
                return
            await asyncio.sleep(_PAUSE_SECONDS)
