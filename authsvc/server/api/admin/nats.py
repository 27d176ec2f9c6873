"""nats-server: what it needs, what it holds, a push."""

from __future__ import annotations

from fastapi import APIRouter

__all__ = ["router"]

router = APIRouter(prefix="/v1/admin/nats", tags=["admin"])
