"""Grants: what administrators allow in addition."""

from __future__ import annotations

from fastapi import APIRouter

__all__ = ["router"]

router = APIRouter(prefix="/v1/admin/grants", tags=["admin"])
