"""Three nats-servers, PostgreSQL and two replicas of the API on this machine, to try things with.

    python -m tests.cluster up [--nodes 3] [--replicas 2]

Prints the URLs and an API key, and runs until it is interrupted; then all of it is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.fixtures.cluster import ReplicatedService
from tests.fixtures.ports import free_port
from tests.fixtures.postgres import Postgres, _start, _wait


@asynccontextmanager
async def started(
    nodes: int = 3, replicas: int = 2, *, forked: bool = True, **settings: str
) -> AsyncIterator[ReplicatedService]:
    """A PostgreSQL and a cluster of their own.

    Args:
        nodes: How many nats-servers.
        replicas: How many of the API.
        forked: Whether replicas are forked, which starts them sooner, and shares their memory.
        settings: Further ones of the API, by their names in small letters.
    """
    folder = Path(tempfile.mkdtemp(prefix="authsvc-cluster-"))
    (folder / "postgres").mkdir()
    folder.chmod(0o755)
    postgres, service = None, None
    try:
        port = free_port()
        postgres = _start(folder / "postgres", port)
        await asyncio.to_thread(_wait, postgres, folder / "postgres", port)
        server = Postgres(port, folder / "postgres")
        await server.sql("CREATE DATABASE authsvc")
        service = ReplicatedService(
            folder,
            server.url("authsvc"),
            nodes=nodes,
            replicas=replicas,
            forked=forked,
            settings=settings,
        )
        await service.start()
        yield service
    finally:
        if service is not None:
            await service.stop()
        if postgres is not None:
            postgres.send_signal(signal.SIGINT)
            await asyncio.to_thread(postgres.wait, 30)
        shutil.rmtree(folder)


async def up(nodes: int, replicas: int) -> None:
    """Run until interrupted."""
    async with started(nodes, replicas) as service:
        lines = [f"{node.name}  {node.url}  {node.log}" for node in service.nodes]
        lines += [f"api {replica.url}  {replica.log}" for replica in service.replicas]
        lines += [f"postgres {service.database_url}", f"api key {service.api_key}", "ready"]
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["up"])
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--replicas", type=int, default=2)
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(up(options.nodes, options.replicas))


if __name__ == "__main__":
    main()
