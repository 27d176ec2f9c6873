"""A service whose handler is a command: the body goes in, what it prints comes out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence

from authsvc.rpc import Request, Response, Service
from authsvc.rpc._serving import problem
from authsvc.rpc._streaming import filled
from authsvc.rpc._threads import Threads
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

    async def respond(self, request: Request, threads: Threads) -> Response:  # noqa: ARG002
        """What the command prints, or why there is nothing."""
        if self._allowed is not None and request.requester not in self._allowed:
            self.stats.refused += 1
            return problem(403, "not allowed")
        try:
            return await self._run(request)
        except OSError:
            return self.failed(request)

    async def _run(self, request: Request) -> Response:
        # A body in chunks is not all here yet.
        if request.streamed and not await filled(request):
            return problem(413, "the body is too large")
        content = request.content
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=os.environ | _described(request),
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(request.remaining()):
                printed, said, _ = await asyncio.gather(
                    _read(process.stdout, _MAX_OUTPUT),
                    _read(process.stderr, _MAX_ERROR),
                    _feed(process, content),
                )
                code = await process.wait()
        except TimeoutError:
            self.stats.expired += 1
            return problem(419, "the request expired while it was handled")
        finally:
            await _end(process)
        if code:
            self.stats.errors += 1
            _log.error(
                "%s exited with %d: %s", self._command[0], code, said.decode(errors="replace")
            )
            return problem(500, "the responder failed")
        return Response(printed)


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
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.close()
        await process.stdin.wait_closed()


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
