"""Two rows that differ never seal alike, and what was sealed once seals the same for ever."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from authsvc.server.audit import chain

KEY = bytes(range(32))
EVENT = (
    *(1, "evt_1", 1_700_000_000_123, "user", "usr_1", "credential.issue", "credential", "crd_1"),
    *("req_1", "192.0.2.1", '{"b": [1, "ä"], "a": null}'),
)
LINK = chain.Link(
    batch=1,
    first_seq=1,
    last_seq=2,
    count=2,
    newest_at=3,
    sealed_at=4,
    previous=chain.FIRST,
    root="ab",
)

texts = st.text(max_size=6)
numbers = st.integers(-(2**63), 2**63 - 1)
documents = st.dictionaries(
    texts,
    st.recursive(st.none() | st.booleans() | numbers | texts, lambda x: st.lists(x, max_size=3)),
    max_size=3,
)
events = st.tuples(numbers, texts, numbers, *[texts] * 7, documents)


def leaf(event: tuple[Any, ...]) -> bytes:
    return chain.leaf(KEY, (*event[:-1], orjson.dumps(event[-1]).decode()))


def same(one: object, other: object) -> bool:
    # 1 and true are equal in Python, and not in JSON.
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def test_seals_of_earlier_versions_hold() -> None:
    """If this fails, every audit that exists would be called changed."""
    assert chain.leaf(KEY, EVENT).hex() == "841b289458f9ff784e53c93bcf21e323"
    assert LINK.digest(KEY) == "68f374d735b29bfbd3d9a3c091c94b5648fbf14847f934002eb2695c5b286168"
    assert (
        chain.drop_mac(KEY, 1, "ab", 2)
        == "6be9fbd5dad2f3e925f5ad62533b50aaa619c60bf1bfa1ca56b8e74b2661d86b"
    )


@given(events, events)
def test_leaves_are_equal_when_the_events_are(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    assert (leaf(one) == leaf(other)) is same(one, other)
    assert len(leaf(one)) == 16


@given(events, st.integers(0, 8), st.data())
def test_text_that_moves_to_the_next_column_is_another_event(
    event: tuple[Any, ...], place: int, data: st.DataObject
) -> None:
    if isinstance(event[place], str) and isinstance(event[place + 1], str) and event[place]:
        cut = data.draw(st.integers(0, len(event[place]) - 1))
        head, tail = event[place][:cut], event[place][cut:]
        moved = (*event[:place], head, tail + event[place + 1], *event[place + 2 :])
        assert leaf(moved) != leaf(event)


def test_a_digest_covers_every_column_of_a_link() -> None:
    changed = [replace(LINK, **{f.name: getattr(LINK, f.name) * 2}) for f in fields(LINK)]
    digests = {LINK.digest(KEY), LINK.digest(KEY[::-1]), *(link.digest(KEY) for link in changed)}
    assert len(digests) == len(changed) + 2


def test_what_no_event_holds_has_no_mac() -> None:
    for place, value in ((2, b"\0"), (10, "{"), (10, None), (10, b"\xff")):
        event = [*EVENT]
        event[place] = value
        assert chain.leaf(KEY, event) == b""
    column: Any = b""
    assert replace(LINK, root=column).digest(KEY) == ""


@given(st.lists(st.builds(chain.Leaf, numbers, st.binary(min_size=16, max_size=16)), max_size=5))
def test_leaves_come_back_and_only_whole(leaves: list[chain.Leaf]) -> None:
    packed, root = chain.pack(leaves)
    found = chain.unpack(packed, root)
    assert found is not None
    assert list(found) == leaves
    assert chain.unpack(packed + b"x", root) is None
    assert chain.unpack(packed.hex(), root) is None
