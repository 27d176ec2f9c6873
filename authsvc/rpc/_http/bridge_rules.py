"""Which requests a bridge lets through: rules by method and path pattern. Pure.

``GET /items/*``: ``*`` stands for what is between two slashes, ``**`` for anything, ``/**`` at
the end also for nothing. A rule without a method is for every method; ``GET`` is for HEAD too.

What two programs read differently is refused, whatever the rules: servers decode, fold and cut
paths in their own ways, and a rule that sees another path than the server protects nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from authsvc.errors import InvalidInput
from authsvc.rpc._http.globs import Glob

__all__ = ["Rules", "is_ambiguous"]

_RULE = re.compile(r"(?:([A-Za-z!#$%&'*+.^_`|~-]+)\s+)?(/\S*)")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TWICE = re.compile(rb"%[0-9A-Fa-f]{2}")
# Encoded: slash, backslash, NUL and other controls. Plain: what servers fold.
_ENCODED = re.compile(r"%(?:2[fF]|5[cC]|[01][0-9A-Fa-f]|7[fF])")
_FOLDED = re.compile(r"//|\\|/\.{1,2}(?:[/;]|\Z)")


class _Rule(NamedTuple):
    method: str | None
    exact: Glob
    loose: Glob


class Rules:
    """Allow and deny lists. Deny goes first; with an allow list, what is not on it is refused.

    Args:
        allow: Rules; everything if there are none.
        deny: Rules.

    Raises:
        InvalidInput: One is no rule.
    """

    def __init__(self, allow: Iterable[str] = (), deny: Iterable[str] = ()) -> None:
        self._allow = [_rule(text) for text in allow]
        self._deny = [_rule(text) for text in deny]

    def permits(self, method: str, path: str) -> bool:
        """Whether a request goes through.

        Args:
            method: Its method.
            path: Its path as it travels, without the query.
        """
        if is_ambiguous(path):
            return False
        method, decoded = method.upper(), _decoded(path)
        forms = {decoded, _without_parameters(decoded)}
        loose = {form.rstrip("/") or "/" for form in forms} | forms
        if any(_concerns(rule, method) and _some(rule.loose, loose) for rule in self._deny):
            return False
        return not self._allow or any(
            _concerns(rule, method) and all(map(rule.exact.matches, forms)) for rule in self._allow
        )


def is_ambiguous(path: str) -> bool:
    """Whether servers may read this path in different ways."""
    if _BAD_ESCAPE.search(path) or _ENCODED.search(path):
        return True
    raw = unquote_to_bytes(path)
    if _TWICE.search(raw):
        return True
    try:
        decoded = raw.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return _FOLDED.search(decoded) is not None or not decoded.isprintable()


def _decoded(path: str) -> str:
    return unquote_to_bytes(path).decode("utf-8")


def _without_parameters(path: str) -> str:
    """Without ``;parameters``, which some servers cut off before they look at the path."""
    return "/".join(part.partition(";")[0] for part in path.split("/"))


def _some(pattern: Glob, forms: Iterable[str]) -> bool:
    return any(map(pattern.matches, forms))


def _concerns(rule: _Rule, method: str) -> bool:
    return rule.method in {None, method} or (rule.method == "GET" and method == "HEAD")


def _rule(text: str) -> _Rule:
    match = _RULE.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(
            f"{text!r} is no rule; write a method and a path, such as 'GET /items/*', or a path"
        )
    method = match[1].upper() if match[1] and match[1] != "*" else None
    # A server that takes capitals for small letters must not lead past what is denied.
    return _Rule(method, Glob(match[2]), Glob(match[2], fold=True))
