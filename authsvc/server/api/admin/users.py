"""Users: create, list, change, disable, delete."""

from __future__ import annotations

from fastapi import APIRouter

__all__ = ["router"]

router = APIRouter(tags=["admin"])
