"""``authsvc up`` as a process of its own, whose system calls that write can be delayed or refused.

    async with deployed.disk("fsync,fdatasync:delay_enter=300000"):
        ...                                     # the disk is slow
    async with deployed.disk("pwrite64:error=EROFS", only=("authsvc.db", "authsvc.db-wal")):
        ...                                     # its file system has become read-only

Where there is no strace, or nobody may attach, another process holds SQLite's lock instead, on and
off.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from authsvc import dpop
from authsvc.nkey import KeyPair, Prefix
from tests.faults.syscalls import spoiled
from tests.fixtures.authsvc import SECRET, access_token
from tests.fixtures.waiting import until

__all__ = ["Deployed"]

_HELD, _FREE = 0.3, 0.02
# Who is not root may attach to what runs in a user namespace of one's own.
_OWN = [] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user"]


class Deployed:
    """It, and a client for it.

    Args:
        folder: For its files.
    """

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*_OWN, sys.executable, "-m", "authsvc", "up", "--data-dir", str(self.data),
                 "--port", "0", "--nats-port", "0"],
                env={**os.environ, "AUTHSVC_SYFTBOX_ACCESS_TOKEN_SECRET": SECRET},
                stdout=log,
                stderr=log,
            )  # fmt: skip
        self.http = httpx.AsyncClient(timeout=30)

    async def ready(self) -> None:
        """Wait until it serves."""

        def ready() -> bool:
            assert self._process.poll() is None, self._log.read_text()
            return "\nready " in self._log.read_text()

        await until(ready, 60)
        context = json.loads((self.data / "context.json").read_text())
        self.http.base_url = context["url"]
        self._url, self._api_key = context["url"], context["api_key"]

    async def stop(self) -> None:
        """End it."""
        await self.http.aclose()
        self._process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(self._process.wait, 20)

    async def login(self, email: str) -> httpx.Response:
        """Log in with a new nkey."""
        key, token, path = KeyPair.generate(Prefix.USER), access_token(email), "/v1/credentials"
        jti = secrets.token_hex(16)
        proof = dpop.make(key, "POST", self._url + path, token=token, now=time.time(), jti=jti)
        headers = {"Authorization": f"Bearer {token}", "DPoP": proof}
        return await self.http.post(path, headers=headers)

    async def kept(self) -> set[str]:
        """The ids of all credentials that there are."""
        headers = {"Authorization": f"Bearer {self._api_key}"}
        answer = await self.http.get("/v1/admin/credentials?limit=1000", headers=headers)
        return {item["id"] for item in answer.json()["items"]}

    @asynccontextmanager
    async def disk(self, inject: str, *, only: Sequence[str] = ()) -> AsyncIterator[None]:
        """Spoil system calls of the process meanwhile.

        Args:
            inject: Which, and how; as strace's ``--inject`` has it.
            only: Names of files in the data directory that it is about; all if empty.
        """
        files = [self.data / name for name in only]
        within = self._beside()
        async with spoiled([self._process.pid], inject, only=files, within=within) as done:
            if done:
                yield
                return
        holding = asyncio.create_task(self._hold(_HELD if "delay" in inject else 60))
        try:
            yield
        finally:
            holding.cancel()
            await asyncio.gather(holding, return_exceptions=True)

    def _beside(self) -> list[str]:
        if not _OWN:
            return []
        return ["nsenter", f"--user=/proc/{self._process.pid}/ns/user", "--preserve-credentials"]

    async def _hold(self, seconds: float) -> None:
        """Hold the lock that writing takes, again and again."""
        database = sqlite3.connect(self.data / "authsvc.db", isolation_level=None, timeout=0)
        try:
            while True:
                try:
                    database.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError:
                    await asyncio.sleep(0.001)
                    continue
                await asyncio.sleep(seconds)
                database.execute("ROLLBACK")
                await asyncio.sleep(_FREE)
        finally:
            database.close()
