"""API keys: make, list, revoke."""

from __future__ import annotations

from fastapi import APIRouter

__all__ = ["router"]

router = APIRouter(prefix="/v1/admin/api-keys", tags=["admin"])
