"""Patterns of paths with ``*`` and ``**``, matched in one pass whatever they are. Pure.

A regular expression with several wildcards tries all their lengths against each other: a path of
8 KB, which the caller chooses, would keep a process busy for minutes. Here each character moves all
places in the pattern that the path may stand at, as bits of one number.

Source: Baeza-Yates and Gonnet, "A New Approach to Text Searching", CACM 35 (10), 1992 (Shift-And).
"""

from __future__ import annotations

import re
from collections import defaultdict

__all__ = ["Glob"]

_WILDCARD = re.compile(r"(\*\*|\*)")


class Glob:
    """A pattern.

    Args:
        pattern: ``*`` stands for what is between two slashes, ``**`` for anything, ``/**`` at the
            end also for nothing.
        fold: Whether capitals and small letters are the same.
    """

    def __init__(self, pattern: str, *, fold: bool = False) -> None:
        self._fold = fold
        text = pattern.casefold() if fold else pattern
        self._next: defaultdict[str, int] = defaultdict(int)
        """By character: the places that it moves on."""
        self._anything = self._segment = 0
        """The places that any character stays at, and that any but a slash does."""
        place = 0
        for part in _WILDCARD.split(text):
            if part == "**":
                self._anything |= 1 << place
            elif part == "*":
                self._segment |= 1 << place
            else:
                for char in part:
                    self._next[char] |= 1 << place
                    place += 1
        self._ends = 1 << place
        if text.endswith("/**"):
            self._ends |= 1 << (place - 1)

    def matches(self, path: str) -> bool:
        """Whether the path, all of it, fits."""
        places = 1
        for char in path.casefold() if self._fold else path:
            stay = self._anything if char == "/" else self._anything | self._segment
            places = (places & self._next.get(char, 0)) << 1 | places & stay
            if not places:
                return False
        return bool(places & self._ends)
