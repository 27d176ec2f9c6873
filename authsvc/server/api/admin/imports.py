"""Users by the hundred thousand: NDJSON in, a result line each."""

from __future__ import annotations

from fastapi import APIRouter

__all__ = ["router"]

router = APIRouter(tags=["admin"])
