"""A full disk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.faults.conftest import all_kept, ready, reasons
from tests.fixtures.authsvc import LiveService, live_service


@pytest.fixture
async def service(small_disk: Path, tmp_path: Path) -> AsyncIterator[LiveService]:
    """The service with its database on the small disk."""
    url = f"sqlite:///{small_disk / 'authsvc.db'}"
    async with live_service(tmp_path / "data", url) as found:
        yield found


class Filler:
    """Fills the disk to its end; where there is no small one, SQLite's own bound is that end."""

    def __init__(self, service: LiveService, disk: Path) -> None:
        self._service = service
        self._file = disk / "filler"
        self._mounted = disk.is_mount()

    async def fill(self) -> None:
        if not self._mounted:
            await self._bound("(select page_count from pragma_page_count)")
            return
        with self._file.open("wb", buffering=0) as file:
            for size in (65536, 512, 1):
                try:
                    while file.write(b"x" * size):
                        pass
                except OSError:
                    continue

    async def clear(self) -> None:
        if self._mounted:
            self._file.unlink()
        else:
            await self._bound("4294967294")

    async def _bound(self, pages: str) -> None:
        async with self._service.running.database.writing() as session:
            number = await session.scalar(text(f"select {pages}"))
            await session.execute(text(f"pragma max_page_count = {number}"))


async def test_a_full_disk_is_said_and_nothing_acknowledged_is_lost(
    service: LiveService, small_disk: Path
) -> None:
    filler, kept, refused = Filler(service, small_disk), set(), 0
    kept.add((await service.login("before@example.com")).json()["id"])
    await filler.fill()
    # What is left of the last page may take some; whatever is answered 201 has to stay.
    for number in range(200):
        answer = await service.login(f"user{number}@example.com")
        if answer.status_code == 201:
            kept.add(answer.json()["id"])
            continue
        assert answer.status_code == 503, answer.text
        assert answer.json()["type"] == "urn:authsvc:problem:store-unavailable"
        assert int(answer.headers["retry-after"]) > 0
        refused += 1
        if refused == 3:
            break
    assert refused == 3
    assert await reasons(service) == {"database"}
    assert (await service.http.get("/healthz")).status_code == 200
    await filler.clear()
    await ready(service)
    kept.add((await service.login("after@example.com")).json()["id"])
    await all_kept(service, kept)
