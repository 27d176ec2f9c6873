"""Who administers: an API key, its scopes, and what its audit events say.

    @router.get("/v1/admin/users", **needs("users:read"))
    async def users(admin: Annotated[Administrator, scope("users:read")], ...) -> Response: ...

A route without ``needs`` fails the test that walks the OpenAPI document.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any

from fastapi import Depends, Path, Request
from pydantic import BaseModel
from sqlalchemy import ColumnElement, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc import jose, subjects
from authsvc.errors import (
    InvalidInput,
    InvalidName,
    InvalidToken,
    NotFound,
    ScopeMissing,
    StoreUnavailable,
)
from authsvc.server import api_keys, audit
from authsvc.server.api.deps import RunningDep, address, refusals
from authsvc.server.models import ApiKey, User
from authsvc.server.running import Running

__all__ = [
    "Administrator",
    "UserPath",
    "find_user",
    "needs",
    "read_username",
    "scope",
]

_USED_SECONDS = 60
"""``last_used_at`` is written at most this often."""
_ALL = "admin"
_USER_ID = re.compile(r"usr_[0-9a-v]{26}\Z")

UserPath = Annotated[str, Path(description="A user's id or canonical username.")]


@dataclass(frozen=True, slots=True)
class Administrator:
    """An API key that held, with the scope that the route needs."""

    id: str
    name: str
    scopes: frozenset[str]
    context: audit.Context

    def may(self, wanted: str) -> bool:
        """Whether the key has the scope; ``admin`` has all."""
        return wanted in self.scopes or _ALL in self.scopes


def needs(
    wanted: str,
    *statuses: int,
    body: type[BaseModel] | None = None,
    answer: Mapping[int | str, dict[str, Any]] = MappingProxyType({}),
) -> dict[str, Any]:
    """What a route that needs a scope says in the OpenAPI document.

    Args:
        wanted: The scope.
        statuses: Refusals beside 401, 403 and 503.
        body: What the route reads.
        answer: What it answers, such as ``{201: {"model": GrantItem}}``.
    """
    extra: dict[str, Any] = {"security": [{"api_key": []}], "x-scope": wanted}
    if body is not None:
        content = {"application/json": {"schema": body.model_json_schema()}}
        extra["requestBody"] = {"required": True, "content": content}
    return {
        "response_model": None,
        "responses": {**answer, **refusals(401, 403, 503, *statuses)},
        "openapi_extra": extra,
    }


def scope(wanted: str) -> Any:
    """A dependency: the administrator, if the request's API key has the scope."""

    async def administrator(request: Request, service: RunningDep) -> Administrator:
        found = await _authenticate(request, service, time.time())
        if not found.may(wanted):
            raise ScopeMissing(f"this API key lacks the scope {wanted}")
        return found

    return Depends(administrator, scope="function")


async def _authenticate(request: Request, service: Running, now: float) -> Administrator:
    """The API key in the Authorization header, or the one whose rights a console session has.

    Raises:
        InvalidToken: There is none, or it is unknown, expired or revoked.
    """
    signed_in = _signed_in(request)
    known = _presented(request) if signed_in is None else col(ApiKey.id) == signed_in
    async with service.database.reading() as session:
        key = await session.scalar(select(ApiKey).where(known))
    if key is None:
        raise InvalidToken("API key: not known")
    if key.revoked_at is not None:
        raise InvalidToken("API key: revoked")
    if key.expires_at is not None and now >= key.expires_at:
        raise InvalidToken("API key: expired")
    if now - (key.last_used_at or 0) >= _USED_SECONDS:
        # Where nothing can be written, who reads is answered all the same; /readyz says so.
        with contextlib.suppress(StoreUnavailable):
            async with service.database.writing() as session:
                await session.execute(
                    update(ApiKey).where(col(ApiKey.id) == key.id).values(last_used_at=int(now))
                )
    actor = audit.Actor("api_key", key.id)
    context = audit.Context(actor, request.state.request_id, address(request))
    return Administrator(key.id, key.name, frozenset(key.scopes), context)


def _signed_in(request: Request) -> str | None:
    """The id of a console session's API key.

    It stands in the state of the request's scope, which only this process can write: the console
    calls these routes in process, so that scopes are looked at here and nowhere else.
    """
    return getattr(request.state, "console_api_key", None)


def _presented(request: Request) -> ColumnElement[bool]:
    """What finds the API key in the Authorization header."""
    given = request.headers.getlist("authorization")
    if len(given) != 1:
        raise InvalidToken("one Authorization header is needed")
    kind, _, text = given[0].partition(" ")
    if kind.lower() != "bearer":
        raise InvalidToken("the authorization scheme bearer is needed")
    return col(ApiKey.digest) == api_keys.digest(text.strip(" "))


async def find_user(session: AsyncSession, reference: str, *, lock: bool = False) -> User:
    """The user that a path names by id or by canonical username.

    Args:
        session: Any.
        reference: As the path has it.
        lock: Whether the row will be changed.

    Raises:
        NotFound: There is no such user.
    """
    missing = NotFound("there is no such user")
    column = col(User.id)
    if not _USER_ID.match(reference):
        try:
            reference, column = subjects.username(reference), col(User.username)
        except InvalidName:
            raise missing from None
    statement = select(User).where(column == reference)
    found = None
    if reference.isprintable():  # PostgreSQL takes no NUL
        found = await session.scalar(statement.with_for_update() if lock else statement)
    if found is None:
        raise missing
    return found


def read_username(cursor: str) -> str:
    """The last username that was seen, of a list by username.

    Args:
        cursor: As ``next_cursor`` was: base64url of the name.

    Raises:
        InvalidInput: It is none of ours.
    """
    try:
        name = jose.b64decode(cursor).decode()
    except (InvalidInput, UnicodeDecodeError):
        name = ""
    if not name.isprintable() or not name:
        raise InvalidInput("cursor: take it from next_cursor as it is")
    return name
