"""The service as its clients see it: reached, ready, its clock, its certificate, its logins."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from authsvc.cli.doctor.finding import Finding, fail, good, warn

__all__ = ["Seen", "login_findings", "reach", "service_findings"]

_SECONDS = 10.0
_SKEW_WARN, _SKEW_FAIL = 5.0, 30.0
"""Seconds; a proof may be a minute old."""
_CERTIFICATE_DAYS = 14
_DAY = 86400


@dataclass(frozen=True, slots=True)
class Seen:
    """A server that answered.

    Args:
        status: The HTTP status.
        ahead: Seconds that its clock is ahead of this one; None where it did not say.
        document: What it answered, if that was a JSON object.
    """

    status: int
    ahead: float | None
    document: Mapping[str, Any]


def reach(url: str, path: str = "") -> Seen | str:
    """Ask a server; why it can't be reached, if so."""
    try:
        before = time.time()
        answer = httpx.get(url.rstrip("/") + path, timeout=_SECONDS, follow_redirects=False)
        after = time.time()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    try:
        found = answer.json()
    except ValueError:
        found = None
    ahead = _ahead(answer.headers.get("date", ""), before, after)
    return Seen(answer.status_code, ahead, found if isinstance(found, dict) else {})


def service_findings(url: str) -> tuple[list[Finding], Mapping[str, Any] | None]:
    """What there is to say of the service, and what it says of itself; None: not reached."""
    seen = reach(url, "/.well-known/authsvc")
    if isinstance(seen, str):
        return [fail("service", f"{url} does not answer ({seen})", "authsvc up")], None
    if "operator" not in seen.document:
        told = f"{url} answers {seen.status}, and not as authsvc does"
        return [fail("service", told, "name the right URL: AUTHSVC_URL, or --data-dir")], None
    found = [_ready(url, str(seen.document.get("version"))), *_clock("this service", seen)]
    return found + _certificate(url), seen.document


def login_findings(document: Mapping[str, Any]) -> list[Finding]:
    """The login methods, and whether the SyftBox server they need is there."""
    methods = [it for it in document.get("login_methods", []) if isinstance(it, dict)]
    names = [str(it.get("name")) for it in methods]
    if not set(names) - {"enrolment"}:
        return [warn("logins", "no person can log in", "set AUTHSVC_SYFTBOX_URL and restart")]
    found = [good("logins", ", ".join(names))]
    if "dev" in names:
        told = "dev login is on: anybody on that machine can be anybody"
        found = [warn("logins", told, "start without --dev-login")]
    for url in {str(it["url"]) for it in methods if it.get("url")}:
        seen = reach(url)
        if isinstance(seen, str):
            told = f"the login server {url} does not answer ({seen})"
            found.append(fail("logins", told, "see that it runs, and AUTHSVC_SYFTBOX_URL is right"))
        else:
            found += _clock(f"the login server {url}", seen)
    return found


def _ready(url: str, version: str) -> Finding:
    seen = reach(url, "/readyz")
    if isinstance(seen, str):
        return fail("service", f"{url} does not answer ({seen})", "authsvc up")
    if seen.status == httpx.codes.OK:
        return good("service", f"{url} is ready, version {version}")
    reasons = str(seen.document.get("detail", seen.status))
    mend = "authsvc nats status" if "nats" in reasons else "look at the service's log"
    return fail("service", f"not ready: {reasons}", mend)


def _clock(whose: str, seen: Seen) -> list[Finding]:
    if seen.ahead is None:
        return [warn("clock", f"{whose} does not say its time", "")]
    told = f"{whose}: {abs(seen.ahead):.0f} s {'ahead of' if seen.ahead > 0 else 'behind'} this one"
    mend = "sudo timedatectl set-ntp true   (on the machine whose clock is wrong)"
    if abs(seen.ahead) > _SKEW_FAIL:
        return [fail("clock", told, mend)]
    if abs(seen.ahead) > _SKEW_WARN:
        return [warn("clock", told, mend)]
    return [good("clock", f"{whose}: within a few seconds of this one")]


def _ahead(date: str, before: float, after: float) -> float | None:
    """By the Date of an answer, which has whole seconds: an interval, and how far out of it."""
    try:
        said = parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
    if said > after:
        return said - after
    return min(0.0, said + 1 - before)


def _certificate(url: str) -> list[Finding]:
    parts = urlsplit(url)
    if parts.scheme != "https":
        return []
    place = (str(parts.hostname), parts.port or 443)
    try:
        with (
            socket.create_connection(place, _SECONDS) as plain,
            ssl.create_default_context().wrap_socket(plain, server_hostname=place[0]) as secured,
        ):
            ends = str((secured.getpeercert() or {}).get("notAfter", ""))
        days = (ssl.cert_time_to_seconds(ends) - time.time()) / _DAY
    except (OSError, ValueError) as error:
        return [fail("certificate", f"of {url}: {error}", "renew the certificate")]
    told = f"of {url}: {days:.0f} days left"
    if days < _CERTIFICATE_DAYS:
        return [warn("certificate", told, "renew the certificate")]
    return [good("certificate", told)]
