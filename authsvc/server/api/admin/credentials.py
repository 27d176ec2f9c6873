"""Credentials of any user: issue, list, revoke."""

from __future__ import annotations

from fastapi import APIRouter

__all__ = ["router"]

router = APIRouter(tags=["admin"])
