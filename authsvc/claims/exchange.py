"""What imports and exports share: their two types, and subjects that contain others.

Source: https://github.com/nats-io/jwt (types.go).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, cast
from urllib.parse import urlsplit

from authsvc.claims import members
from authsvc.claims.members import Json
from authsvc.claims.report import Report
from authsvc.errors import InvalidClaims

__all__ = [
    "ExportType",
    "check_info",
    "contained",
    "export_type",
    "has_wildcards",
    "is_url",
    "overlapping",
]

ExportType = Literal["stream", "service", ""]

_MAX_INFO_BYTES = 8 * 1024
_MOST_OVERLAPS = 100


def export_type(values: Json, name: str) -> ExportType:
    """``stream`` or ``service``; empty if absent.

    Raises:
        InvalidClaims: Anything else.
    """
    value = members.text(values, name)
    if values.get(name) is not None and value not in {"stream", "service"}:
        raise InvalidClaims(f"the member {name!r} is neither stream nor service")
    return cast("ExportType", value)


def contained(subject: str, other: str) -> bool:
    """Whether everything under ``subject`` is under ``other`` too, as Go's library decides it.

    It takes texts that are no subjects, and ``a.>`` to be under ``a.*``, which
    ``subjects.covers`` does not; here it only has to find what Go would refuse.
    """
    mine, theirs = subject.split("."), other.split(".")
    if len(mine) < len(theirs) or (len(mine) > len(theirs) and theirs[-1] != ">"):
        return False
    for place, part in enumerate(theirs):
        if part == ">" and place == len(theirs) - 1:
            return True
        if part not in {"*", mine[place]}:
            return False
    return True


def overlapping(named: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Subjects, each with an earlier one of its kind that contains it or is contained.

    Args:
        named: Kind and subject.

    Returns:
        A hundred pairs at most: thousands of the same would fill the memory with pairs.
    """
    found = 0
    for place, (kind, subject) in enumerate(named):
        for other_kind, other in named[:place]:
            if kind == other_kind and (contained(subject, other) or contained(other, subject)):
                yield subject, other
                found += 1
                if found == _MOST_OVERLAPS:
                    return


def has_wildcards(subject: str) -> bool:
    """Whether a token of the subject is a wildcard."""
    tokens = subject.split(".")
    return "*" in tokens or tokens[-1] == ">"


def check_info(description: str, info_url: str, report: Report) -> None:
    """Note texts for people that are too long, and a link that is none."""
    if len(description.encode(errors="replace")) > _MAX_INFO_BYTES:
        report.error(f"the description has more than {_MAX_INFO_BYTES} bytes")
    if not info_url:
        return
    if len(info_url.encode(errors="replace")) > _MAX_INFO_BYTES:
        report.error(f"the info_url has more than {_MAX_INFO_BYTES} bytes")
    if not is_url(info_url):
        report.error("the info_url has no scheme or no host")


def is_url(text: str, *, host: bool = True) -> bool:
    """Whether it is a URL with a scheme, and with a host where one is needed."""
    if any(char <= " " or char == "\x7f" for char in text):
        return False
    try:
        parts = urlsplit(text)
        # Asking for the port is what finds a wrong one.
        return bool(parts.scheme) and (bool(parts.hostname) or not host) and parts.port != 0
    except ValueError:
        return False
