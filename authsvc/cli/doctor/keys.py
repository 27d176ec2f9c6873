"""Keys that end, or wait for somebody: signing keys, API keys, adopted JWTs that expire."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import httpx

from authsvc import jose
from authsvc.cli.doctor.finding import Finding, fail, good, warn
from authsvc.errors import InvalidInput

__all__ = ["api_key_findings", "expiry_findings", "key_findings"]

_DAY = 86400
_SOON_DAYS = 14
_WAITING_SECONDS = _DAY
_SECONDS = 10.0


def key_findings(keys: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """Signing keys that wait for a step, or can't sign."""
    found, now = [], time.time()
    for key in keys:
        whose = f"{key['owner']} {key['account'] or ''}".strip()
        account = key["account"] or "operator"
        if key["signs"] and not key["held"] and key["owner"] != "operator":
            told = f"the private key {key['public_key']} of {whose} is not here"
            found.append(fail("keys", told, "authsvc key import FILE"))
        waits = now - _time(key["created_at"]) > _WAITING_SECONDS
        if key["state"] == "prepared" and waits:
            told = f"a new key of {whose} waits since {key['created_at']}"
            mend = f"authsvc key rotate --account {account} --step activate"
            found.append(warn("keys", told, mend))
        due = key["retire_after"]
        if due and key["state"] == "active" and not key["automatic"] and now > _time(due):
            told = f"a former key of {whose} is needed by nobody since {due}"
            found.append(warn("keys", told, f"authsvc key retire --account {account}"))
    return found or [good("keys", "no signing key waits for anybody")]


def api_key_findings(keys: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """API keys that end soon."""
    found, now = [], time.time()
    for key in keys:
        ends = key["expires_at"]
        if key["state"] != "active" or not ends:
            continue
        days = (_time(ends) - now) / _DAY
        if days < _SOON_DAYS:
            told = f"the API key {key['name']} ({key['prefix']}...) ends at {ends}"
            scopes = " ".join(f"--scope {scope}" for scope in key["scopes"])
            found.append(warn("API keys", told, f"authsvc api-key create {key['name']} {scopes}"))
    return found or [good("API keys", f"none ends within {_SOON_DAYS} days")]


def expiry_findings(url: str, accounts: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """JWTs of the operator and of accounts that end: only those that somebody else made do.

    Args:
        url: Of the service, which hands them to nats-servers.
        accounts: As ``/v1/admin/nats/status`` names them.
    """
    jwts = {"the operator": "/jwt/v1/operator"}
    jwts |= {it["name"]: f"/jwt/v1/accounts/{it['public_key']}" for it in accounts}
    found = []
    for name, path in jwts.items():
        ends = _expires(url.rstrip("/") + path)
        days = (ends - time.time()) / _DAY
        if not ends or days > _SOON_DAYS:
            continue
        rank, when = (fail, "ended") if days <= 0 else (warn, f"ends in {days:.0f} days")
        mend = "nsc edit operator --expiry 0" if path.endswith("operator") else ""
        mend = mend or f"nsc edit account {name} --expiry 0, then nsc push"
        found.append(rank("expiry", f"the JWT of {name} {when}", mend))
    return found or [good("expiry", "no JWT of operator or accounts ends soon")]


def _expires(url: str) -> int:
    """``exp`` of a JWT, in seconds since the epoch; 0 where it has none, or can't be had."""
    try:
        answer = httpx.get(url, timeout=_SECONDS)
        return int(jose.split(answer.text.strip()).payload.get("exp") or 0)
    except (httpx.HTTPError, InvalidInput, TypeError, ValueError):
        return 0


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
