"""Users by the hundred thousand: NDJSON in, a result line each."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Annotated, Any

import structlog
from fastapi import APIRouter
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from authsvc import jose
from authsvc.errors import AuthsvcError, InvalidInput, StoreUnavailable
from authsvc.server import audit, directory
from authsvc.server.api.admin.deps import Administrator, needs, scope
from authsvc.server.api.admin.ndjson import MEDIA_TYPE, Line, Lines, Spool, chunks
from authsvc.server.api.admin.schemas import ImportResult, UserRequest
from authsvc.server.api.deps import RunningDep
from authsvc.server.running import Running
from authsvc.server.sessions.sizes import Caps

__all__ = ["BODY_BOUNDS", "router"]

router = APIRouter(tags=["admin"])
log = structlog.get_logger("authsvc.import")

PATH = "/v1/admin/users:import"
MAX_BYTES = 256 * 1024 * 1024
MAX_LINE_BYTES = 64 * 1024
MAX_LINES = 1_000_000
BATCH_LINES = 500
BATCH_BYTES = 1024 * 1024
MANY = 1000
"""New users that the database should know of for its plans."""
PAUSE_SECONDS = 0.2
"""A batch that is not full is done when the client sends nothing for so long."""

BODY_BOUNDS = {PATH: MAX_BYTES}
"""Bodies that may be larger than others; the import counts for itself while it reads."""

_DOCUMENTED: dict[str, Any] = needs(
    "users:write", 413, answer={200: {"model": ImportResult, "content": {MEDIA_TYPE: {}}}}
)
_DOCUMENTED["openapi_extra"]["requestBody"] = {
    "required": True,
    "content": {MEDIA_TYPE: {"schema": UserRequest.model_json_schema()}},
}


@router.post(PATH, **_DOCUMENTED)
async def import_users(
    admin: Annotated[Administrator, scope("users:write")], service: RunningDep
) -> Response:
    """Create many users: a JSON object a line, each as POST /v1/admin/users takes it."""
    return _Import(service, admin.context)


class _Stopped(Exception):
    """The body is larger than one may be; the text is for the client."""


class _Import(Response):
    """Reads the body and answers at the same time."""

    media_type = MEDIA_TYPE

    def __init__(self, service: Running, context: audit.Context) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._service = service
        self._context = context
        settings = service.settings
        self._caps = Caps(settings.user_max_subscriptions, settings.max_payload)
        self._spool = Spool()
        self._waiting: list[Line] = []
        self._done = 0
        """The number of the last line that was answered."""
        self._created = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Serve the request."""
        work = asyncio.create_task(self._work(receive), name="authsvc-import")
        try:
            started = False
            async for part in self._spool.parts():
                if not started:
                    await self._start(send)
                    started = True
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await work
            if not started:
                await self._start(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            work.cancel()
            await asyncio.wait({work})
            self._spool.close()

    async def _start(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})

    async def _work(self, receive: Receive) -> None:
        try:
            await self._read(receive)
        except ClientDisconnect:
            log.info("hung up", lines=self._done, request_id=self._context.request_id)
        except (_Stopped, AuthsvcError) as error:
            log.warning("stopped", lines=self._done, cause=repr(error.__cause__ or error))
            too_large = isinstance(error, _Stopped)
            if not self._done:  # nothing is sent yet, and the answer can have a status of its own
                raise (HTTPException(413, str(error)) if too_large else error) from error
            reason = str(error) if too_large else "not available now"
            told = f"{reason}; what was answered is kept, so send what is missing again"
            self._answer([_result(self._done + 1, "failed", error=told)])
        finally:
            self._spool.end()

    async def _read(self, receive: Receive) -> None:
        lines, size, waiting = Lines(MAX_LINE_BYTES), 0, 0
        async for chunk in chunks(receive, PAUSE_SECONDS):
            size += len(chunk)
            if size > MAX_BYTES:
                raise _Stopped(f"the body has more than {MAX_BYTES} bytes")
            for line in lines.feed(chunk):
                self._waiting.append(line)
                waiting += len(line.content or b"")
                if len(self._waiting) >= BATCH_LINES or waiting >= BATCH_BYTES:
                    await self._flush()
                    waiting = 0
            if not chunk:
                await self._flush()
                waiting = 0
        self._waiting += lines.end()
        await self._flush()
        if self._created >= MANY:
            # Everything is done and answered; without this lists are slower for a while.
            with contextlib.suppress(StoreUnavailable):
                await self._note_growth()

    async def _note_growth(self) -> None:
        async with self._service.database.writing() as session:
            await directory.note_growth(session)

    async def _flush(self) -> None:
        """One transaction for the lines that wait, then their answers."""
        batch, self._waiting = self._waiting, []
        if not batch:
            return
        if batch[-1].number > MAX_LINES:
            raise _Stopped(f"the body has more than {MAX_LINES} lines")
        read = [_read(line) for line in batch]
        new = [user for user in read if isinstance(user, directory.NewUser)]
        async with self._service.database.writing() as session:
            outcomes = iter(
                await directory.create_users(
                    session, new, caps=self._caps, context=self._context, now=time.time()
                )
            )
        results = []
        for line, user in zip(batch, read, strict=True):
            outcome = user if isinstance(user, str) else next(outcomes)
            if isinstance(user, str) or isinstance(outcome, str | AuthsvcError):
                results.append(_result(line.number, "invalid", error=str(outcome)))
            else:
                status = "created" if outcome.created else "exists"
                self._created += outcome.created
                results.append(_result(line.number, status, outcome.id, user.username))
        self._answer(results)
        self._done = batch[-1].number

    def _answer(self, results: Sequence[bytes]) -> None:
        self._spool.write(b"".join(results))


def _read(line: Line) -> directory.NewUser | str:
    """The user of a line, or what is wrong with it."""
    if line.content is None:
        return f"the line has more than {MAX_LINE_BYTES} bytes"
    try:
        body = UserRequest.model_validate_json(line.content)
        jose.loads(line.content)  # refuses a member that stands twice
        return body.new_user()
    except ValidationError as error:
        issues = error.errors(include_url=False, include_input=False, include_context=False)
        return "; ".join(
            ": ".join([*(str(part) for part in issue["loc"]), issue["msg"]]) for issue in issues
        )
    except InvalidInput as error:
        return str(error)


def _result(
    line: int,
    status: str,
    user_id: str | None = None,
    username: str | None = None,
    error: str | None = None,
) -> bytes:
    """``ImportResult`` as a line."""
    members = {"line": line, "status": status, "id": user_id, "username": username, "error": error}
    return jose.dumps(members) + b"\n"
