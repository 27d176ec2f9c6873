"""What may be granted without saying that it is dangerous."""

from __future__ import annotations

import itertools
import re
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authsvc.errors import InvalidSubject
from authsvc.server.grant_rules import RESERVED, reaches

WORDS = ["requests", "responses", "_INBOX", "$SYS", "$JS", "alice", "bob", "x"]
USERS = ["alice", "bob"]
UNIVERSE = [
    ".".join(parts) for size in range(1, 5) for parts in itertools.product(WORDS, repeat=size)
]
"""Every subject of up to four tokens; all trees of section 2 can be told apart by then."""


@cache
def regex(pattern: str) -> re.Pattern[str]:
    """Matching as NATS documents it, written without a look at ``subjects``."""
    words = {"*": r"[^.]+", ">": r".+"}
    return re.compile(r"\.".join(words.get(it) or re.escape(it) for it in pattern.split(".")))


def brute(pattern: str, subject: str) -> bool:
    return regex(pattern).fullmatch(subject) is not None


def listen(entries: list[str], subject: str) -> bool:
    """Whether a client with these entries can hear the subject on nats-server.

    It compares a subscription with the entries token by token; so "a.>" passes an "a.*".
    """
    for entry in entries:
        asked = [entry]
        if entry.rpartition(".")[2] == "*":
            asked.append(entry[:-1] + ">")
        if any(brute(each, subject) for each in asked):
            return True
    return False


def is_anothers(action: str, subject: str, me: str | None) -> bool:
    """Whether section 2 gives the subject to somebody else, or to no user at all."""
    tokens = subject.split(".")
    if tokens[0] in {"$SYS", "$JS"} and len(tokens) > 1:
        return True
    for user in USERS:
        if user == me:
            continue
        if brute(f"_INBOX.{user}.>", subject):
            return True
        theirs = {
            "publish": [f"requests.{user}.>", f"responses.*.{user}.>"],
            "subscribe": [f"responses.{user}.>", f"requests.*.{user}.>"],
        }[action]
        if any(brute(each, subject) for each in theirs):
            return True
    return False


patterns = st.lists(st.sampled_from([*WORDS, "*", "*", "w*"]), min_size=1, max_size=4).flatmap(
    lambda tokens: st.sampled_from([".".join(tokens), ".".join([*tokens[:-1], ">"])])
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([*USERS, None]), st.sampled_from(["publish", "subscribe"]), patterns)
def test_what_is_accepted_reaches_nothing_of_others(
    user: str | None, action: str, pattern: str
) -> None:
    publish, subscribe = ([pattern], []) if action == "publish" else ([], [pattern])
    found = reaches(publish, subscribe, user)
    if action == "publish":
        allowed = [subject for subject in UNIVERSE if brute(pattern, subject)]
    else:
        allowed = [subject for subject in UNIVERSE if listen([pattern], subject)]
    if not found:
        for subject in allowed:
            assert not is_anothers(action, subject, user), subject
    else:
        # And nothing is refused that stays out of the reserved trees.
        roots = [tree.split(".")[0] for tree in RESERVED]
        assert pattern.partition(".")[0] in {*roots, "*", ">"}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["weather", "x", "*", "w>", "a-b"]), min_size=0, max_size=4))
def test_the_rest_is_free(tail: list[str]) -> None:
    entry = ".".join(["news", *tail])
    for user in ("alice", None):
        assert reaches([entry, f"{entry}.>"], [entry, f"{entry}.>"], user) == []


@pytest.mark.parametrize(
    ("action", "entry", "into"),
    [
        ("publish", "requests.>", "requests"),
        ("publish", "requests.bob.>", "requests"),
        ("publish", "requests.*.bob.x", "requests"),
        ("publish", "*.x.y", "requests"),
        ("publish", ">", "requests"),
        ("publish", "responses.alice.bob.>", "responses"),
        ("publish", "_INBOX.bob.1", "inboxes"),
        ("publish", "$SYS.REQ.>", "system"),
        ("publish", "$JS.API.STREAM.DELETE.x", "JetStream"),
        ("publish", "$JS.ACK.>", "JetStream"),
        ("subscribe", "requests.*.bob.x", "requests"),
        ("subscribe", "requests.alice.>", "requests"),
        ("subscribe", "responses.bob.>", "responses"),
        ("subscribe", "_INBOX.>", "inboxes"),
        ("subscribe", "*", "requests"),
        ("subscribe", "requests.*", "requests"),
        ("subscribe", "*.*.*", "requests"),
    ],
)
def test_what_is_dangerous(action: str, entry: str, into: str) -> None:
    lists = {"publish": [entry], "subscribe": []}
    if action == "subscribe":
        lists = {"publish": [], "subscribe": [entry]}
    for user in ("alice", None):
        found = reaches(lists["publish"], lists["subscribe"], user)
        assert {(reach.action, reach.entry) for reach in found} == {(action, entry)}
        assert any(into in reach.into for reach in found)


def test_what_is_the_users_own_already() -> None:
    publish = ["requests.alice.bob.x", "responses.*.alice.>", "$JS.ACK.requests_alice.1.>"]
    subscribe = ["requests.*.alice.x", "responses.alice.*", "_INBOX.alice.>"]
    assert reaches([*publish, "$SYS.REQ.USER.INFO"], subscribe, "alice") == []
    assert len(reaches(publish, subscribe, "bob")) == 6
    assert len(reaches([*publish, "$SYS.REQ.USER.INFO"], subscribe)) == 6


@pytest.mark.parametrize("entry", ["", "a..b", "a b", "a.>.b", "a\u0000b", "a\n"])
def test_what_is_no_subject(entry: str) -> None:
    with pytest.raises(InvalidSubject):
        reaches([entry], [])
    with pytest.raises(InvalidSubject):
        reaches([], [entry], "alice")
