"""Patterns of paths: as a regular expression reads them, in time that only grows with length."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authsvc.rpc._http.globs import Glob

_PARTS = {"*": "[^/]*", "**": ".*"}


def _pattern(text: str) -> str:
    """The same as a regular expression, which is slow at its worst."""
    end = ""
    if text.endswith("/**"):
        text, end = text[:-3], "(?:/.*)?"
    return "".join(_PARTS.get(it, re.escape(it)) for it in re.split(r"(\*\*|\*)", text)) + end


@given(
    st.lists(st.sampled_from(["/", "a", "b", "B", "*", "**", "é"]), max_size=8).map("".join),
    st.lists(st.sampled_from(["/", "a", "b", "A", "É"]), max_size=8).map("".join),
)
def test_it_is_what_the_regular_expression_is(pattern: str, path: str) -> None:
    wanted = re.fullmatch(_pattern(pattern), path) is not None
    assert Glob(pattern).matches(path) is wanted
    loose = re.fullmatch(_pattern(pattern), path, re.IGNORECASE) is not None
    assert Glob(pattern, fold=True).matches(path) is loose


@pytest.mark.parametrize("pattern", ["/**/a/**/b/**/c", "/*a*b*c*d", "/**/**/**/x", "/*" * 40])
def test_no_path_takes_long(pattern: str) -> None:
    glob = Glob(pattern)
    for path in ("/a/b" * 2048, "/" + "ab" * 4096, "/" * 8192, "/" + "a" * 8191):
        began = time.process_time()
        assert not glob.matches(path)
        assert time.process_time() - began < 0.5
