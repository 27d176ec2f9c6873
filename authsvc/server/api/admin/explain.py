"""Why a user may, or may not."""

from __future__ import annotations

from fastapi import APIRouter

__all__ = ["router"]

router = APIRouter(prefix="/v1/admin/explain", tags=["admin"])
