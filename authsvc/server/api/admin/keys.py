"""Signing keys: list them, rotate them."""

from __future__ import annotations

from fastapi import APIRouter

__all__ = ["router"]

router = APIRouter(prefix="/v1/admin/keys", tags=["admin"])
