"""Templates, what they may call, and the headers of pages.

Every value is escaped: names of users are text from anybody.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import Response

__all__ = ["PAGE_HEADERS", "asset", "render"]

PAGE_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
            "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        ),
        "X-Frame-Options": "DENY",
        # Not no-referrer, with which browsers send "Origin: null" along with our own forms.
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    }
)
_STATIC = resources.files("authsvc.server.console") / "static"
_KINDS = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_UNITS = ((86400 * 365, "y"), (86400 * 30, "mo"), (86400, "d"), (3600, "h"), (60, "min"))
_KIB = 1024


def render(template: str, answered: int = 200, **values: Any) -> Response:
    """A page.

    Args:
        template: Its file.
        answered: The status of the response.
        values: What the template shows.
    """
    text = _environment().get_template(template).render(values)
    return Response(text, answered, dict(PAGE_HEADERS), media_type="text/html; charset=utf-8")


@cache
def asset(name: str) -> tuple[bytes, str, str] | None:
    """A file that pages ask for: its bytes, its media type, its digest; None if there is none."""
    kind = _KINDS.get(name.rpartition(".")[2])
    file = _STATIC / name
    if kind is None or "/" in name or not file.is_file():
        return None
    content = file.read_bytes()
    return content, f"{kind}; charset=utf-8", hashlib.sha256(content).hexdigest()[:16]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("authsvc.server.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {"ago": _ago, "size": _size, "count": _count, "span": _span}
    environment.globals |= {"static": _static}
    return environment


def _static(name: str) -> str:
    found = asset(name)
    return f"/console/static/{name}?v={found[2] if found else ''}"


def _ago(moment: str | None, nothing: str = "never") -> Markup:
    """A time as people say it, with the exact one as its title."""
    if not moment:
        return Markup('<span class="quiet">{}</span>').format(nothing)
    try:
        then = datetime.fromisoformat(moment)
    except ValueError:
        return Markup("{}").format(moment)
    exact = then.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    told = _distance(time.time() - then.timestamp())
    return Markup('<time datetime="{}" title="{}">{}</time>').format(moment, exact, told)


def _distance(seconds: float) -> str:
    ahead = seconds < 0
    size = abs(seconds)
    for length, unit in _UNITS:
        if size >= length:
            told = f"{int(size // length)} {unit}"
            return f"in {told}" if ahead else f"{told} ago"
    return "in under a minute" if ahead else "just now"


def _span(seconds: int) -> str:
    """A length of time, such as ``7 d``."""
    for length, unit in _UNITS:
        if seconds >= length and seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _size(number: float) -> str:
    """Bytes, such as ``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB"):
        if number < _KIB:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= _KIB
    return f"{number:.1f} GiB"


def _count(number: int) -> str:
    """A number with its thousands apart."""
    return f"{number:,}"
