"""Links that sign in to the console once."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from authsvc.server.api.admin.deps import Administrator, scope
from authsvc.server.api.admin.idempotent import idempotent, posts
from authsvc.server.api.deps import RunningDep
from authsvc.server.api.schemas import rfc3339
from authsvc.server.console_sessions import create_link

__all__ = ["link_url", "router"]

router = APIRouter(prefix="/v1/admin/console-links", tags=["admin"])


class ConsoleLinkMade(BaseModel):
    """A link that signs a browser in once; shown this once."""

    url: str | None
    expires_at: datetime


def link_url(public_url: str, secret: str) -> str:
    """The link; its secret stands in the fragment, which browsers send to nobody.

    Args:
        public_url: Where the service is.
        secret: From ``create_link``.
    """
    return f"{public_url.rstrip('/')}/console/sign-in#{secret}"


@router.post("", status_code=201, **posts("admin", None, answer={201: {"model": ConsoleLinkMade}}))
async def create(
    request: Request, service: RunningDep, admin: Annotated[Administrator, scope("admin")]
) -> Response:
    """Make a link that signs in to the console with this API key's rights, once, for 30 minutes."""
    async with idempotent(request, admin, service) as once:
        if once.first:
            secret, expires_at = await create_link(
                once.session, admin.id, context=admin.context, now=time.time()
            )
            answer = {
                "url": link_url(service.public_url, secret),
                "expires_at": rfc3339(expires_at),
            }
            once.answer(201, answer, secrets=("url",))
    return once.response()
