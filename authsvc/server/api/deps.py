"""What routes ask for: the running service, and who is calling."""

from __future__ import annotations

import time
from functools import cache
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from authsvc import jose
from authsvc.errors import InvalidInput
from authsvc.server.api.proofs import Presented, present
from authsvc.server.api.schemas import ProblemDocument
from authsvc.server.running import Running
from authsvc.server.sessions import Caller, authorize

__all__ = [
    "CallerDep",
    "RunningDep",
    "address",
    "content_of",
    "read_body",
    "refusals",
    "request_id_of",
    "service_of",
]


def service_of(request: Request) -> Running:
    """The service that the application was made over."""
    found: Running = request.app.state.running
    return found


def request_id_of(request: Request) -> str:
    """The request's id, as the answer and the log have it."""
    # Starlette's ``state`` is an object made for each request; this is what it wraps.
    found: str = request.scope["state"]["request_id"]
    return found


async def running(request: Request) -> Running:
    """The same, as a dependency; async, because FastAPI runs plain functions in threads."""
    return service_of(request)


_Model = TypeVar("_Model", bound=BaseModel)
RunningDep = Annotated[Running, Depends(running)]


def address(request: Request) -> str:
    """Where the request came from, for the audit."""
    client = request.scope.get("client")
    return client[0] if client else ""


async def caller(request: Request, service: RunningDep) -> Caller:
    """The user behind ``Authorization: DPoP <NATS user JWT>`` and its proof."""
    now = time.time()
    presented: Presented = present(request, "dpop", service.origins, now)
    async with service.database.reading() as session:
        return await authorize(session, service.signing, presented.token, presented.proof, now)


CallerDep = Annotated[Caller, Depends(caller, scope="function")]


async def read_body(request: Request, model: type[_Model]) -> _Model:
    """The body as the model; an empty body is an empty object.

    pydantic's own JSON reader is used: the standard library's takes UTF-16 and fails with other
    errors than its own on deep nesting and on very long numbers.
    """
    content = await content_of(request)
    try:
        if not content:
            empty: _Model = _empty(model)
            return empty
        found = model.model_validate_json(content)
        jose.loads(content)  # refuses a member that stands twice
    except InvalidInput as error:
        raise InvalidInput(str(error), "body") from None
    except ValidationError as error:
        issues: list[Any] = error.errors(
            include_url=False, include_input=False, include_context=False
        )
        raise RequestValidationError(
            [{**item, "loc": ("body", *item["loc"])} for item in issues]
        ) from error
    return found


@cache
def _empty(model: type[_Model]) -> _Model:
    # One for all requests: nobody changes a body that was read.
    return model.model_validate_json(b"{}")


async def content_of(request: Request) -> bytes:
    """The body's bytes."""
    # Starlette's body() is an async generator over the same, and costs several times as much.
    parts = []
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problem documents that a route can answer, for OpenAPI."""
    content: dict[str, Any] = {"application/problem+json": {}}
    return {status: {"model": ProblemDocument, "content": content} for status in statuses}
