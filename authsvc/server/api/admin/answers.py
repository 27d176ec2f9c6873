"""What admin routes share: how they are described, and how far a change has come."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from authsvc.server.api.admin.deps import needs
from authsvc.server.api.schemas import propagation_json
from authsvc.server.running import Running

__all__ = ["JSON", "described", "propagated"]

JSON = "application/json"


def described(
    wanted: str,
    model: type[BaseModel],
    *refusals: int,
    status: int = 200,
    body: type[BaseModel] | None = None,
    optional: bool = False,
) -> dict[str, Any]:
    """What the OpenAPI document says of a route, for its decorator.

    Args:
        wanted: The scope.
        model: Of the answer.
        refusals: Statuses beside 401, 403 and 503.
        status: Of the answer.
        body: What ``read_body`` reads.
        optional: Whether the body may be left out.
    """
    found = needs(wanted, *refusals)
    found["responses"] = {status: {"model": model}, **found["responses"]}
    if body is not None:
        content = {JSON: {"schema": body.model_json_schema()}}
        found["openapi_extra"] = {
            **found["openapi_extra"],
            "requestBody": {"required": not optional, "content": content},
        }
    return {"status_code": status, **found}


async def propagated(service: Running) -> dict[str, Any]:
    """How far what was just committed for the people's account has come."""
    return propagation_json(await service.reconciler.propagate(service.material.people_id))
