"""``Idempotency-Key``: a POST that is sent again is done once.

How a route adopts it::

    @router.post("/v1/admin/things", status_code=201, **posts("users:write", NewThing, 409, 422))
    async def create(request: Request, service: RunningDep, admin: ...) -> Response:
        body = await read_body(request, NewThing)
        async with idempotent(request, admin, service, body) as once:    # instead of writing()
            if once.first:
                thing = await create_thing(once.session, ...)
                once.answer(201, thing_json(thing), secrets=("seed",))
        propagation = await service.reconciler.propagate(...)            # where it has to
        return once.response(propagation=propagation_json(propagation))

All that the request changes has to happen in ``once.session``, whose transaction also keeps the
answer; nothing inside the block may open a transaction of its own. Where the block raises, nothing
is kept, and the same request is handled anew. What is given to ``response`` is added to the answer
and not kept: a repeat tells how things are now.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from authsvc import jose
from authsvc.errors import InvalidInput, RequestInProgress
from authsvc.server import idempotency
from authsvc.server.api.admin.deps import Administrator, needs
from authsvc.server.idempotency import Kept
from authsvc.server.running import Running

__all__ = ["Once", "idempotent", "posts"]

_HEADER = "Idempotency-Key"
_KEY = re.compile(r"[!-~]{1,255}\Z")
_PARAMETER = {
    "name": _HEADER,
    "in": "header",
    "required": False,
    "description": "Makes a repeat of this very request answer what the first one was answered.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}


def posts(
    wanted: str, body: type[BaseModel] | None, *statuses: int, **values: Any
) -> dict[str, Any]:
    """What an idempotent POST says in the OpenAPI document; see ``needs``.

    Args:
        wanted: The scope.
        body: What the route reads, if it does.
        statuses: Refusals beside 401, 403, 409, 422 and 503.
        values: More for ``needs``.
    """
    found = needs(wanted, 409, 422, *statuses, body=body, **values)
    found["openapi_extra"]["parameters"] = [_PARAMETER]
    return found


class Once:
    """One POST: its writing transaction, and what it is answered.

    Args:
        session: Where everything it changes is written.
        kept: What the first of these requests was answered, if this is a repeat.
    """

    def __init__(self, session: AsyncSession, kept: Kept | None = None) -> None:
        self.session = session
        self.first = kept is None
        self._status = kept.status if kept else 0
        self._answer: dict[str, Any] = jose.loads(kept.body) if kept else {}
        self._secrets: Collection[str] = ()

    def answer(self, status: int, answer: dict[str, Any], *, secrets: Collection[str] = ()) -> None:
        """Say what the request is answered.

        Args:
            status: Of the response.
            answer: Its body.
            secrets: Members that are handed over once: they are not kept, and null in a repeat.
        """
        self._status, self._answer, self._secrets = status, answer, secrets

    def kept(self) -> Kept:
        """What a repeat will be answered."""
        if not self._status:
            raise RuntimeError("the route has not said what it answers")
        if not self._secrets:
            return Kept(self._status, jose.dumps(self._answer))
        hidden = {name: None for name in self._secrets if name in self._answer}
        return Kept(self._status, jose.dumps({**self._answer, **hidden, "secret_shown": True}))

    def response(self, **members: Any) -> Response:
        """The answer with more members, after the transaction was committed."""
        headers = {} if self.first else {"Idempotency-Replayed": "true"}
        content = jose.dumps({**self._answer, **members})
        return Response(content, self._status, headers, media_type="application/json")


@asynccontextmanager
async def idempotent(
    request: Request, admin: Administrator, service: Running, body: BaseModel | None = None
) -> AsyncIterator[Once]:
    """A writing transaction for a POST that may come again; see the top of this module.

    Args:
        request: The POST.
        admin: Who asks: each API key has its own Idempotency-Keys.
        service: The running service.
        body: The body as it was read.

    Raises:
        InvalidInput: The Idempotency-Key can't be one.
        IdempotencyMismatch: It came with another request before.
        RequestInProgress: The same request is being handled now.
    """
    given = request.headers.getlist(_HEADER)
    if not given:
        async with service.database.writing() as session:
            yield Once(session)
        return
    if len(given) > 1 or not _KEY.match(given[0]):
        raise InvalidInput(f"{_HEADER} is one text of 1 to 255 visible ASCII characters")
    key = idempotency.digest(admin.id, request.method, request.scope["path"], given[0])
    asked = idempotency.digest(
        request.scope["query_string"].decode("latin-1"),
        body.model_dump_json() if body is not None else "",
    )
    if key in service.handling:
        raise RequestInProgress("this request is still being handled; ask again in a moment")
    service.handling.add(key)
    try:
        async with service.database.writing() as session:
            now = time.time()
            once = Once(session, await idempotency.claim(session, key, asked, now))
            yield once
            if once.first:
                await idempotency.keep(session, key, asked, *once.kept(), now)
    finally:
        service.handling.discard(key)
