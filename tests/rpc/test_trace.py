"""W3C trace context: what is one, and how it goes on from a request to its handler's calls."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authsvc.rpc import Request, Service, TraceContext, current_trace
from authsvc.rpc._messages.trace import incoming, traced, within
from tests.rpc.conftest import People

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"

digits = st.text("0123456789abcdef", min_size=32, max_size=32).filter(lambda text: text.strip("0"))
contexts = st.builds(
    TraceContext,
    digits,
    digits.map(lambda text: text[16:] if text[16:].strip("0") else SPAN),
    st.sampled_from([0, 1]),
)


@given(contexts)
def test_contexts_round_trip_and_children_stay_in_their_trace(context: TraceContext) -> None:
    assert TraceContext.parse(context.text) == context
    child = context.child()
    assert (child.trace_id, child.flags) == (context.trace_id, context.flags)
    assert child.span_id != context.span_id
    assert TraceContext.parse(child.text) == child


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_text_is_a_context_or_none(parent: str, state: str) -> None:
    found = TraceContext.parse(parent, state)
    assert found is None or TraceContext.parse(found.text, found.state) is not None


@pytest.mark.parametrize(
    "parent",
    [
        "",
        PARENT.upper(),
        PARENT + "-x",
        PARENT[:-1],
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-0x",
        f"01-{TRACE}-{SPAN}-01x",
    ],
)
def test_what_is_no_context(parent: str) -> None:
    assert TraceContext.parse(parent) is None


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    found = TraceContext.parse(f"cc-{TRACE}-{SPAN}-ff-what-the-future-holds")
    assert found == TraceContext(TRACE, SPAN, 255)
    assert found.text == PARENT


@pytest.mark.parametrize(
    ("states", "found"),
    [
        (["a=1"], "a=1"),
        (["a=1 ,b=2", " ", "c=3"], "a=1,b=2,c=3"),
        (["a"], ""),
        (["a=é"], ""),
        ([",".join(f"k{n}=v" for n in range(33))], ""),
        ([f"a={'x' * 600}"], ""),
    ],
)
def test_the_state_travels_whole_or_not_at_all(states: list[str], found: str) -> None:
    pairs = (("traceparent", PARENT), *(("tracestate", state) for state in states))
    context = incoming(pairs)
    assert context is not None
    assert context.state == found


def test_two_parents_are_none_and_one_that_is_given_is_kept() -> None:
    assert incoming((("traceparent", PARENT), ("traceparent", PARENT))) is None
    assert incoming((("x", PARENT),)) is None
    context = TraceContext(TRACE, SPAN, 1, "a=1")
    own = (("traceparent", "mine"), ("tracestate", "b=2"))
    assert traced(own, context) == own
    made = dict(traced((("tracestate", "b=2"), ("x", "y")), context))
    assert made["tracestate"] == "a=1"
    assert made["x"] == "y"
    assert made["traceparent"].startswith(f"00-{TRACE}-")
    assert SPAN not in made["traceparent"]


async def test_a_handlers_calls_are_children_of_its_request(people: People) -> None:
    bob, carol = await people.client("bob"), await people.client("carol")
    first, second = Service("first"), Service("second")

    @first.on_request("/")
    async def on_first() -> Any:
        return (await bob.peer(carol.username, "second").call("/", json=1)).json()

    @first.on_request("/plain")
    def plain() -> str:
        found = current_trace()
        return found.text if found is not None else "none"

    @second.on_request("/")
    def on_second(request: Request) -> dict[str, Any]:
        found = current_trace()
        seen = [request.headers.get(name) for name in ("traceparent", "tracestate")]
        return {"seen": seen, "current": found.text if found is not None else None}

    await people.serve(first, bob)
    await people.serve(second, carol)
    peer = (await people.client("alice")).peer(bob.username, "first")
    answer = (await peer.call("/", headers={"traceparent": PARENT, "tracestate": "a=1"})).json()
    parent, state = answer["seen"]
    assert state == "a=1"
    assert parent == answer["current"]
    found = TraceContext.parse(parent)
    assert found is not None
    assert (found.trace_id, found.flags) == (TRACE, 1)
    assert found.span_id != SPAN
    # Nothing of it is left for the next request, and nothing is made up.
    assert (await peer.call("/")).json() == {"seen": [None, None], "current": None}
    assert (await peer.call("/plain")).text == "none"
    assert (await peer.call("/plain", headers={"traceparent": PARENT})).text == PARENT
    assert (await peer.call("/plain", headers={"traceparent": "nonsense"})).text == "none"


def test_within_ends() -> None:
    assert current_trace() is None
    with within(TraceContext(TRACE, SPAN)):
        assert current_trace() is not None
    assert current_trace() is None
