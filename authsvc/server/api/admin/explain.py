"""Why a user may, or may not."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from authsvc import jose
from authsvc.server import grants
from authsvc.server.api.admin.deps import Administrator, find_user, needs, scope
from authsvc.server.api.deps import RunningDep, read_body
from authsvc.server.grants import Explanation
from authsvc.server.models import User

__all__ = ["router"]

router = APIRouter(prefix="/v1/admin/explain", tags=["admin"])


class Question(BaseModel):
    """The body of ``POST /v1/admin/explain``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    username: Annotated[str, Field(max_length=1000, description="Or the user's id.")]
    action: Literal["publish", "subscribe"]
    subject: Annotated[
        str, Field(max_length=1000, description="A subscription's may hold wildcards.")
    ]
    app: Annotated[
        str | None,
        Field(max_length=64, description="The app that the credential is narrowed to, if it is."),
    ] = None


class Source(BaseModel):
    """Where a rule is from."""

    kind: Literal["default", "grant"]
    id: str | None
    role: str | None


class Needed(BaseModel):
    """What would allow it: this body for ``POST /v1/admin/grants``, and what it would reach."""

    grant: dict[str, Any]
    reaches: list[str]


class Answer(BaseModel):
    """Whether a user may do something, and by which rule."""

    username: str
    action: Literal["publish", "subscribe"]
    subject: str
    app: str | None
    allowed: bool
    disabled: bool
    rule: str | None
    source: Source | None
    needed: Needed | None


@router.post(
    "",
    **needs(
        "users:read",
        404,
        422,
        body=Question,
        answer={200: {"model": Answer}},
    ),
)
async def explain(
    request: Request,
    service: RunningDep,
    _admin: Annotated[Administrator, scope("users:read")],
) -> Response:
    """Whether a user may publish or subscribe, and by which rule.

    It changes nothing, so it needs no Idempotency-Key. A JWT that was issued before a grant lacks
    it until it is renewed.
    """
    body = await read_body(request, Question)
    async with service.database.reading() as session:
        user = await find_user(session, body.username)
        found = await grants.explain(session, user, body.action, body.subject, body.app)
    return Response(jose.dumps(_json(body, user, found)), media_type="application/json")


def _json(asked: Question, user: User, found: Explanation) -> dict[str, Any]:
    source = needed = None
    if found.grant is not None:
        source = {"kind": "grant", "id": found.grant.id, "role": found.grant.role}
    elif found.rule is not None:
        source = {"kind": "default", "id": None, "role": None}
    elif asked.app is None:  # a narrowed credential gets no grants
        grant: dict[str, Any] = {"username": user.username, asked.action: [asked.subject]}
        if found.needed:
            grant["dangerous"] = True
        needed = {"grant": grant, "reaches": [reach.into for reach in found.needed]}
    return {
        "username": user.username,
        "action": asked.action,
        "subject": asked.subject,
        "app": asked.app,
        "allowed": found.rule is not None and user.disabled_at is None,
        "disabled": user.disabled_at is not None,
        "rule": found.rule,
        "source": source,
        "needed": needed,
    }
