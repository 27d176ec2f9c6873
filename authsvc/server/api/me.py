"""``/v1/me``: who asks, and what they may do."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy import select
from sqlmodel import col
from starlette.responses import Response

from authsvc import jose
from authsvc.server import policy
from authsvc.server.api.deps import CallerDep, RunningDep, refusals
from authsvc.server.api.schemas import PROOF, Me
from authsvc.server.models import App, Grant

__all__ = ["router"]

router = APIRouter(tags=["me"])


@router.get(
    "/v1/me",
    response_model=None,
    responses={200: {"model": Me}, **refusals(401, 403, 503)},
    openapi_extra={**PROOF, "security": [{"credential": []}]},
)
async def me(service: RunningDep, caller: CallerDep) -> Response:
    """Your name, its token, your effective permissions and your apps."""
    async with service.database.reading() as session:
        apps = list(
            await session.scalars(
                select(App).where(col(App.user_id) == caller.user_id).order_by(col(App.name))
            )
        )
        allowed = caller.claims.permissions
        if caller.role is not None:
            grants = await session.scalars(
                select(Grant).where(col(Grant.role) == caller.role).order_by(col(Grant.id))
            )
            allowed = policy.permissions(caller.token, grants=list(grants))
    answer = {
        "username": caller.username,
        "token": caller.token,
        "permissions": {
            "publish": list(allowed.publish.allow),
            "subscribe": list(allowed.subscribe.allow),
        },
        "apps": [{"name": app.name, "token": app.token, "offline": app.offline} for app in apps],
    }
    return Response(jose.dumps(answer), media_type="application/json")
