"""Twelve users, some with hostile names: no one acts for, or listens in on, another."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from authsvc import subjects
from authsvc.errors import InvalidName
from authsvc.server.policy import permissions

if TYPE_CHECKING:
    from tests.security.conftest import RawConnect
    from tests.security.mailboxes import Mailboxes
    from tests.security.raw import RawClient

NAMES = [
    "*@x.com",
    "a*b@x.com",
    "a+b@x.com",
    "x@*.com",
    "{{name()}}@x.com",
    "bob-smith@my-org.co.uk",
    ">@x.com",
    "100%@x.com",
    "a.b@x.com",
    "a%2eb@x.com",  # how a.b@x.com would look if the per cent sign went through as it is
    "a\u3164b@x.com",  # a letter that looks like a space
    "ünïcode@bücher.example",
]
ID = "0123456789abcdef0123456789abcdef"
CONTROL = [
    "a",
    ">",
    "*",
    "_R_.>",
    "$JS.>",
    "$JS.mail.API.>",
    "$SYS.>",
    "$SYS.ACCOUNT.>",
    "_INBOX.>",
]


def published_as(victim: str, other: str) -> list[str]:
    """Subjects on which only the victim may publish, seen from ``other``; both encoded."""
    v, o = victim, other
    streams = (f"requests_{v}", f"responses_{v}")
    calls = [
        call
        for stream in streams
        for call in (
            f"STREAM.MSG.GET.{stream}",
            f"DIRECT.GET.{stream}",
            f"DIRECT.GET.{stream}.responses.{v}.{o}.chat.{ID}.stored",
            f"STREAM.DELETE.{stream}",
            f"STREAM.PURGE.{stream}",
            f"STREAM.INFO.{stream}",
            f"STREAM.UPDATE.{stream}",
            f"STREAM.CREATE.{stream}",
            f"STREAM.MSG.DELETE.{stream}",
            f"STREAM.SNAPSHOT.{stream}",
            f"STREAM.LEADER.STEPDOWN.{stream}",
            f"CONSUMER.MSG.NEXT.{stream}.chat",
            f"CONSUMER.CREATE.{stream}",
            f"CONSUMER.CREATE.{stream}.spy",
            f"CONSUMER.CREATE.{stream}.spy.requests.*.{v}.chat.stored",
            f"CONSUMER.DURABLE.CREATE.{stream}.spy",
            f"CONSUMER.DELETE.{stream}.chat",
            f"CONSUMER.INFO.{stream}.chat",
            f"CONSUMER.PAUSE.{stream}.chat",
            f"CONSUMER.UNPIN.{stream}.chat",
        )
    ]
    return [
        f"requests.{v}.{o}.chat",
        f"requests.{v}.{v}.chat",
        f"requests.{v}.{o}.chat.stored",
        f"responses.{o}.{v}.chat.{ID}",
        f"responses.{v}.{v}.chat.{ID}",
        f"responses.{o}.{v}.chat.{ID}.stored",
        f"_INBOX.{v}.anything",
        f"$JS.ACK.requests_{v}.chat.1.1.1.1.0",
        f"$JS.ACK.responses_{v}.chat.1.1.1.1.0",
        f"$JS.ACK._.hash.requests_{v}.chat.1.1.1.1.0",
        f"$JS.ACK.domain.hash.requests_{v}.chat.1.1.1.1.0",
        f"$JS.FC.requests_{v}.chat.1",
        *(f"{prefix}.{call}" for prefix in ("$JS.API", "$JS.mail.API") for call in calls),
    ]


def heard_by(victim: str) -> list[str]:
    """Subscriptions that would bring what is meant for the victim or sent by the victim."""
    v = victim
    return [
        f"requests.*.{v}.>", f"requests.*.{v}.chat", f"requests.{v}.>", f"requests.{v}.*.chat",
        "requests.>", "requests.*.*.chat", "requests.*.*.>", f"*.*.{v}.>", f"*.{v}.>",
        f"responses.{v}.>", f"responses.*.{v}.>", f"responses.{v}.*.chat.*", "responses.>",
        "responses.*.*.chat.>", f"_INBOX.{v}.>", f"_INBOX.{v}.*", "_INBOX.*.>",
        f"$JS.ACK.requests_{v}.>", f"$JS.API.CONSUMER.MSG.NEXT.requests_{v}.*",
        f"$JS.EVENT.ADVISORY.CONSUMER.*.requests_{v}.>",
    ]  # fmt: skip


def own(user: str, other: str) -> list[str]:
    """What the user may publish, and so must not be refused."""
    return [
        f"requests.{user}.{other}.chat",
        f"requests.{user}.{other}.chat.stored",
        f"responses.{other}.{user}.chat.{ID}",
        f"responses.{other}.{user}.chat.{ID}.stored",
        f"$JS.mail.API.CONSUMER.MSG.NEXT.requests_{user}.chat",
        f"$JS.mail.API.STREAM.MSG.GET.responses_{user}",
        f"$JS.ACK.requests_{user}.chat.1.1.1.1.0",
        f"$JS.ACK._.hash.requests_{user}.chat.1.1.1.1.0",
        "$SYS.REQ.USER.INFO",
    ]


TOKENS = {name: subjects.token(name) for name in NAMES}
_QUOTED = re.compile(r'Permissions Violation for (Publish|Subscription) to "([^"]+)"')


@pytest.fixture
async def people(raw: RawConnect) -> dict[str, RawClient]:
    """Every user, connected, by encoded name."""
    return {TOKENS[name]: await raw(name) for name in NAMES}


def test_the_names_are_canonical_and_their_tokens_differ() -> None:
    assert [subjects.username(name, email=True) for name in NAMES] == NAMES
    assert len(set(TOKENS.values())) == len(NAMES) == 12


async def test_no_one_publishes_for_another(people: dict[str, RawClient]) -> None:
    for attacker, victim in itertools.permutations(people, 2):
        tried = published_as(victim, attacker)
        for subject in tried:
            people[attacker].publish(subject, b"forged")
        refused = [_QUOTED.search(text) for text in await people[attacker].refused()]
        assert [(it[1], it[2]) for it in refused if it] == [("Publish", it) for it in tried]


async def test_no_one_listens_in_on_another(people: dict[str, RawClient]) -> None:
    for attacker, victim in itertools.permutations(people, 2):
        tried = [*heard_by(victim), *CONTROL]
        for number, subject in enumerate(tried):
            people[attacker].subscribe(subject, "group" if number % 2 else "")
        refused = [_QUOTED.search(text) for text in await people[attacker].refused()]
        assert [(it[1], it[2]) for it in refused if it] == [("Subscription", it) for it in tried]


async def test_everyone_may_do_what_is_their_own(
    people: dict[str, RawClient], mailboxes: Mailboxes
) -> None:
    for user, other in itertools.permutations(people, 2):
        for subject in own(user, other):
            people[user].publish(subject, b"")
    for user, client in people.items():
        for subject in (f"responses.{user}.>", f"requests.*.{user}.>", f"_INBOX.{user}.>"):
            client.subscribe(subject)
            client.subscribe(subject, "chat")
    assert [await client.refused() for client in people.values()] == [[]] * len(people)


async def test_each_hears_what_is_theirs_and_nothing_more(people: dict[str, RawClient]) -> None:
    # Attempts to listen in are standing while everybody talks with everybody.
    for attacker, victim in itertools.permutations(people, 2):
        for subject in heard_by(victim):
            people[attacker].subscribe(subject)
    for user, client in people.items():
        client.subscribe(f"requests.*.{user}.>", "chat")
        client.subscribe(f"responses.{user}.>")
        client.subscribe(f"_INBOX.{user}.>")
    for client in people.values():
        assert await client.refused()
    for sender, receiver in itertools.permutations(people, 2):
        people[sender].publish(f"requests.{sender}.{receiver}.chat", b"ask")
        people[receiver].publish(f"responses.{sender}.{receiver}.chat.{ID}", b"answer")
        for subject in published_as(receiver, sender)[:7]:
            people[sender].publish(subject, b"forged")
    for client in people.values():
        await client.settle()
    for user, client in people.items():
        others = [other for other in people if other != user]
        await client.settle()
        assert sorted((it.subject, it.body) for it in client.heard) == sorted(
            [(f"requests.{other}.{user}.chat", b"ask") for other in others]
            + [(f"responses.{user}.{other}.chat.{ID}", b"answer") for other in others]
        )


async def test_stored_requests_reach_their_owner_alone(
    people: dict[str, RawClient], mailboxes: Mailboxes
) -> None:
    victims = NAMES[:3]
    for name in victims:
        await mailboxes.make(name)
    try:
        for user, client in people.items():
            client.subscribe(f"_INBOX.{user}.>")
            for name in victims:
                if TOKENS[name] == user:
                    continue
                stored = f"requests.{user}.{TOKENS[name]}.chat.stored"
                answer = await client.ask(stored, user.encode(), f"_INBOX.{user}.ack")
                assert b'"stream":"requests_' in answer.body
        for name in victims:
            user = TOKENS[name]
            client = people[user]
            client.heard.clear()
            client.publish(
                f"$JS.mail.API.CONSUMER.MSG.NEXT.requests_{user}.chat",
                b'{"batch":11,"expires":2000000000}',
                f"_INBOX.{user}.pull",
            )
            found = await client.until(11)
            assert sorted((it.subject, it.body) for it in found) == sorted(
                (f"requests.{other}.{user}.chat.stored", other.encode())
                for other in people
                if other != user
            )
            for item in found:
                client.publish(item.reply, b"+ACK")
            await client.settle()
    finally:
        for name in victims:
            await mailboxes.remove(name)


names = st.text("aB1*>.%{}()_+-@$~/\\|\u00fc\u3164\u212a", min_size=1, max_size=12)


@given(names, names)
def test_no_two_users_have_a_subject_in_common(one: str, two: str) -> None:
    try:
        one, two = subjects.username(one), subjects.username(two)
    except InvalidName:
        return
    assume(one != two)
    mine, theirs = permissions(subjects.token(one)), permissions(subjects.token(two))
    shared = [
        (entry, other)
        for left, right in ((mine.publish, theirs.publish), (mine.subscribe, theirs.subscribe))
        for entry, other in itertools.product(left.allow, right.allow)
        if subjects.overlaps(entry, other)
    ]
    assert shared == [("$SYS.REQ.USER.INFO", "$SYS.REQ.USER.INFO")]
