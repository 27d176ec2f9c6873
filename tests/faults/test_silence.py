"""A network that loses everything ends connections to PostgreSQL, whatever they wait for."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from authsvc.server import engines
from tests.faults.network import may_be_apart, played
from tests.faults.silence import SECONDS
from tests.fixtures.postgres import Postgres


async def test_whoever_waits_for_a_database_that_is_cut_off_is_told_in_time(
    tmp_path: Path, postgres: Postgres
) -> None:
    """What no bound of ours is about: any statement, and connections that are idle."""
    if await may_be_apart():
        path = postgres.folder / f".s.PGSQL.{postgres.port}"
        seen = await played("tests.faults.silence", tmp_path, "postgres", str(path))
        assert seen["patient"]
        assert seen["asked"] == [False, False]
        assert seen["took"] < 5 * SECONDS
    # Here too where no cable can be pulled.
    _, writer = await asyncio.open_connection("127.0.0.1", postgres.port)
    sock = writer.get_extra_info("socket")
    engines.bound_silence(sock)
    bound = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert bound == engines.NETWORK_SECONDS * 1000
    writer.close()
    await writer.wait_closed()
