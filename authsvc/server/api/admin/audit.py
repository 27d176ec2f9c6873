"""The audit: read it, export it."""

from __future__ import annotations

from fastapi import APIRouter

__all__ = ["router"]

router = APIRouter(prefix="/v1/admin/audit", tags=["admin"])
