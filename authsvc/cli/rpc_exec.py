"""A service whose handler is a command: the body goes in, what it prints comes out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from typing import Any

from authsvc.rpc import PayloadTooLarge, Request, Response, Service
from authsvc.subjects import username

__all__ = ["CommandService"]

_log = logging.getLogger(__name__)
_MAX_OUTPUT = 8 * 1024 * 1024
_MAX_ERROR = 4096
_CHUNK = 1 << 16


class CommandService(Service):
    """Answers each path and method by running a command.

    A request that its requester waits for no more ends the command, with all that it started.

    Args:
        name: The app's name.
        command: The program and its arguments.
        allow: Who may call; everybody if None.
        offline: Whether requests wait for it while it is away.
        concurrency: How many run at a time.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        allow: Sequence[str] | None = None,
        offline: bool = False,
        concurrency: int = 8,
    ) -> None:
        super().__init__(name, offline=offline, concurrency=concurrency)
        self._command = list(command)
        self._allowed = None if allow is None else {username(known) for known in allow}

    async def respond(self, request: Request, threads: Any) -> Response:  # noqa: ARG002
        """What the command prints, or why there is nothing."""
        if self._allowed is not None and request.requester not in self._allowed:
            self.stats.refused += 1
            return Response({"detail": "not allowed"}, status=403)
        try:
            return await self._run(request)
        except OSError:
            return self.failed(request)

    async def _run(self, request: Request) -> Response:
        try:
            content = await request.read()
        except PayloadTooLarge:
            return Response({"detail": "the body is too large"}, status=413)
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=_environment() | _described(request),
            start_new_session=True,
        )
        feeding = asyncio.create_task(_feed(process, content))
        try:
            async with asyncio.timeout(request.remaining()):
                printed, said = await asyncio.gather(
                    _read(process.stdout, _MAX_OUTPUT), _read(process.stderr, _MAX_ERROR)
                )
                code = await process.wait()
        except TimeoutError:
            self.stats.expired += 1
            return Response({"detail": "the request expired while it was handled"}, status=419)
        finally:
            # What it did not read, nobody waits for.
            feeding.cancel()
            await _end(process)
        if code:
            self.stats.errors += 1
            _log.error(
                "%s exited with %d: %s", self._command[0], code, said.decode(errors="replace")
            )
            return Response({"detail": "the responder failed"}, status=500)
        return Response(printed)


def _environment() -> dict[str, str]:
    """Ours, without what says who this is: the command is to answer and not to log in."""
    return {
        name: value
        for name, value in os.environ.items()
        if not (name.startswith("AUTHSVC_") or (name.startswith("SYFTBOX_") and "TOKEN" in name))
    }


def _described(request: Request) -> dict[str, str]:
    return {
        "AUTHSVC_REQUESTER": request.requester,
        "AUTHSVC_APP": request.app,
        "AUTHSVC_METHOD": request.method,
        "AUTHSVC_TARGET": request.target,
        "AUTHSVC_REQUEST_ID": request.id,
    }


async def _feed(process: Process, content: bytes) -> None:
    if process.stdin is None:
        return
    # A command need not read what it is given.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(content)
        await process.stdin.drain()
    process.stdin.close()


async def _read(stream: asyncio.StreamReader | None, limit: int) -> bytes:
    """All there is; what is above the limit by more than one chunk is dropped."""
    kept = bytearray()
    while stream is not None and (chunk := await stream.read(_CHUNK)):
        if len(kept) <= limit:
            kept += chunk
    return bytes(kept)


async def _end(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
