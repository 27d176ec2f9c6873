"""Connections as they are counted, whatever order they are heard of in."""

from __future__ import annotations

import itertools

import orjson
import pytest

from authsvc import jose
from authsvc.server.provision import census
from authsvc.server.provision.census import Census, Key, Presence, Whose, read_event, read_moment

HERE = ("A", "B", "C")


def presence(start: float, user: str = "alice", key: str = "", issued: int = 0) -> Presence:
    return Presence(Whose(user, key, issued), start, noted_at=start)


def token(**claims: object) -> str:
    body: dict[str, object] = {"name": "alice", "sub": "UALICE", "iat": 7, "iss": "ASIGNER"}
    body["nats"] = {"tags": ["credential:c1"]}
    return f"e30.{jose.b64encode(orjson.dumps(body | claims))}.c2ln"


def event(**client: object) -> bytes:
    client = {"id": 9, "start": "2026-01-02T03:04:05.123456789Z"} | client
    return orjson.dumps({"server": {"id": "A"}, "client": client})


def test_the_newest_go_and_all_who_count_agree() -> None:
    there = [(Key(server, cid), presence(start)) for server, cid, start in (
        ("B", 1, 1.0), ("A", 1, 2.0), ("C", 7, 3.0), ("A", 9, 4.0), ("A", 10, 4.0), ("B", 2, 4.0),
    )]  # fmt: skip
    for order in itertools.islice(itertools.permutations(there), 0, None, 37):
        count = Census(3)
        for key, found in order:
            count.came(key, found)
        assert count.over == {"alice"}
        assert count.excess("alice", HERE, 100) == [Key("A", 9), Key("A", 10), Key("B", 2)]
        # A server that is gone has nobody connected.
        assert count.excess("alice", ("A", "C"), 100) == [Key("A", 10)]


def test_what_comes_and_goes_leaves_nothing() -> None:
    count = Census(3)
    for cid in range(10_000):
        count.came(Key("A", cid), presence(cid, f"user{cid % 7}"))
        count.left(Key("A", cid), cid)
    assert len(count) == 0
    assert (count._present, count._of, count.over) == ({}, {}, set())
    assert len(count._gone) <= census._GONE_SECONDS + 1


def test_an_end_that_is_heard_of_before_its_beginning_counts() -> None:
    count = Census(1)
    count.left(Key("A", 1), 5)
    assert not count.came(Key("A", 1), presence(4))
    # Neither does a listing that is older than it bring it back.
    assert count.settle({Key("A", 1): presence(4)}, (), began=6)
    assert len(count) == 0


def test_a_listing_mends_what_events_lost() -> None:
    count = Census(1)
    for cid, start in ((1, 1.0), (2, 2.0), (3, 9.0)):
        count.came(Key("A", cid), presence(start))
    count.came(Key("B", 1), presence(1.0))
    # 2 ended unheard; 3 began while it was made; B did not answer; nobody knows whose 4 is.
    assert not count.settle({Key("A", 1): None, Key("A", 4): None}, {"B"}, began=5)
    assert sorted(count._present) == [Key("A", 1), Key("A", 3), Key("B", 1)]
    whose = {Key("A", 1): presence(1), Key("A", 3): presence(9), Key("A", 4): presence(3)}
    assert count.settle(whose, (), began=10)
    assert count.excess("alice", HERE, 20) == [Key("A", 4), Key("A", 3)]
    assert count.settle({Key("A", 1): None}, (), began=20)
    assert count.over == set()


def test_a_renewed_credential_has_time_to_take_over() -> None:
    count = Census(1)
    count.came(Key("A", 1), presence(100, key="UA", issued=50))
    for cid, issued in ((2, 50), (3, 90), (4, 91)):
        count.came(Key("A", cid), presence(100 + cid, key="UA", issued=issued))
    # The first with a newer JWT, and neither the same JWT again nor a second successor.
    assert count.excess("alice", HERE, 106) == [Key("A", 2), Key("A", 4)]
    assert count.excess("alice", HERE, 109) == [Key("A", 2), Key("A", 3), Key("A", 4)]


def test_whose_a_connection_is_says_what_nats_server_checked() -> None:
    heard = read_event(event(jwt=token(), user="bob"), 1)
    started = read_moment("2026-01-02T03:04:05.123456Z")
    alice = Whose("alice", "UALICE", 7, "ASIGNER", "c1")
    assert heard == (Key("A", 9), Presence(alice, started, 1))
    by_callout = read_event(event(user="carol"), 1)
    assert by_callout is not None
    assert by_callout[1].whose == Whose("carol")


@pytest.mark.parametrize(
    "jwt", [token(nats={}), token(nats={"tags": ["x"]}), token(nats=None), "x", "a.b", "a.%.c"]
)
def test_others_than_users_have_no_limit(jwt: str) -> None:
    heard = read_event(event(jwt=jwt, user="alice"), 1)
    assert heard is not None
    count = Census(1)
    for cid in range(3):
        assert not count.came(Key("A", cid), heard[1])
    # They are known, so that a listing without names is complete.
    assert count.settle(dict.fromkeys((Key("A", cid) for cid in range(3)), None), (), began=0)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"server":{},"client":{"id":1}}', b"\xff"])
def test_other_messages_are_no_events(body: bytes) -> None:
    assert read_event(body, 1) is None


def test_moments_are_ordered_as_go_writes_them() -> None:
    texts = ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.1Z", "2026-01-02T03:04:05.12Z"]
    moments = [read_moment(text) for text in texts]
    assert all(one < other for one, other in itertools.pairwise(moments))
    assert read_moment("x") == 0
