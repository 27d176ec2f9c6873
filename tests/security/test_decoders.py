"""Every decoder, on random bytes and on good input that was changed.

Each returns or raises one of its own errors; anything else fails. ``AUTHSVC_FUZZ_EXAMPLES`` raises
the number of examples of each; ``python -m tests.security.fuzz --seconds 3600`` goes on for as long
as one likes.
"""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.security.decoders import DECODERS
from tests.security.fuzz import Tally, run
from tests.security.mutation import changed

EXAMPLES = int(os.environ.get("AUTHSVC_FUZZ_EXAMPLES", "25"))
SECONDS = float(os.environ.get("AUTHSVC_FUZZ_SECONDS", "0.15"))


@st.composite
def spoilt(draw: st.DrawFn, good: tuple[bytes, ...]) -> bytes:
    """Good input, changed as ``fuzz.py`` changes it."""
    chance = draw(st.randoms(use_true_random=False))
    return changed(draw(st.sampled_from(good)), good, chance)


@pytest.mark.parametrize("name", DECODERS)
def test_random_and_changed_bytes_raise_our_errors_alone(name: str) -> None:
    decoder = DECODERS[name]

    @settings(
        max_examples=EXAMPLES, database=None, derandomize="AUTHSVC_FUZZ_EXAMPLES" not in os.environ
    )
    @given(st.binary(max_size=200) | spoilt(decoder.good))
    def run(data: bytes) -> None:
        try:
            decoder.read(data)
        except decoder.errors:
            return

    run()


@pytest.mark.parametrize("name", DECODERS)
def test_nothing_is_found_in_a_moment(name: str) -> None:
    """What ``fuzz.py`` does for an hour: more cases, and an eye on time and memory."""
    tally = Tally()
    run(name, SECONDS, random.Random(), tally, list(DECODERS[name].good))  # noqa: S311
    assert tally.cases > 0
    assert not tally.findings, [(found, found.data) for found in tally.findings.values()]


@pytest.mark.parametrize("name", DECODERS)
def test_what_is_good_is_read(name: str) -> None:
    """Otherwise the changed bytes would be changed rubbish."""
    for data in DECODERS[name].good:
        DECODERS[name].read(data)
