"""The cable to PostgreSQL is pulled, so that nothing that is sent is acknowledged any more.

Started by ``test_silence``; prints what it saw as JSON. ``relay`` runs on the machine at the other
end and hands everything on to PostgreSQL's socket, which is no matter of networks.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from pathlib import Path

import orjson
from sqlalchemy import text

from authsvc.errors import StoreUnavailable
from authsvc.server import engines
from authsvc.server.database import Database
from tests.faults.inside import say
from tests.faults.network import Host, start_network
from tests.fixtures.waiting import until

SECONDS = 2


async def relay(address: str, path: str) -> None:
    """Listen at an address, and connect whoever comes to the socket at a path."""

    async def through(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(path)
        await asyncio.gather(through(reader, back), through(there, writer))

    server = await asyncio.start_server(serve, address, 5432)
    await server.serve_forever()


async def answers(database: Database, statement: str = "select 1") -> bool:
    """Whether the database answers."""
    try:
        async with database.reading() as session:
            await session.execute(text(statement))
    except StoreUnavailable:
        return False
    return True


async def main(folder: Path, name: str, path: str) -> None:
    """Play it, and print what was seen."""
    engines.NETWORK_SECONDS = SECONDS
    start_network(apart=True)
    host = Host(1, folder, apart=True)
    host.plug_in()
    words = [sys.executable, "-m", "tests.faults.silence", "relay", host.address, path]
    process = await asyncio.create_subprocess_exec(*host.inside(), *words)
    database = Database(f"postgresql://authsvc@{host.address}/{name}")
    try:
        await until(lambda: answers(database), 60)
        # A statement may take as long as it likes while the other end is there.
        patient = await answers(database, f"select pg_sleep({SECONDS + 0.5})")
        waiting = asyncio.create_task(answers(database, "select pg_sleep(60)"))
        await asyncio.sleep(0.2)
        host.cut()
        began = time.monotonic()
        asked = await asyncio.gather(waiting, answers(database))
        took = time.monotonic() - began
        host.heal()
        await until(lambda: answers(database), 30)
        seen = {"patient": patient, "asked": asked, "took": took}
        say(orjson.dumps(seen).decode())
    finally:
        await database.stop()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        host.stop()


if __name__ == "__main__":
    if sys.argv[1] == "relay":
        asyncio.run(relay(*sys.argv[2:]))
    else:
        asyncio.run(main(Path(sys.argv[1]), *sys.argv[3:]))
