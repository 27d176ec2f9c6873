from __future__ import annotations

import itertools
import json
import unicodedata
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authsvc import subjects
from authsvc.errors import InvalidName, InvalidSubject
from authsvc.subjects import Request, Response, covers, matches, overlaps, token, untoken

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent / "vectors" / "subjects.json").read_text("utf-8")
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
NAMES = TEXT | st.text("aA.*>%4 @+-_é\u0130K", min_size=1)
REQUEST_ID = "0123456789abcdef" * 2


@given(NAMES)
def test_token_round_trips(name: str) -> None:
    text = token(name)
    assert untoken(text) == name
    assert subjects.validate(text, wildcards=False) == text
    assert "." not in text
    # An independent encoder of RFC 3986, the characters that it leaves alone made the same.
    wanted = quote(name, safe="@+").replace(".", "%2E").replace("~", "%7E")
    assert text == wanted


@given(NAMES, NAMES)
def test_token_is_injective(one: str, two: str) -> None:
    assert (token(one) == token(two)) is (one == two)


def test_token_is_injective_on_every_short_name() -> None:
    names = ["".join(chars) for size in (1, 2, 3) for chars in
             itertools.product("a.%2Ee*", repeat=size)]  # fmt: skip
    assert len({token(name) for name in names}) == len(set(names))


@pytest.mark.parametrize("name", ["", "\ud800", "a\udfff"])
def test_a_name_without_a_token(name: str) -> None:
    with pytest.raises(InvalidName):
        token(name)


@given(st.text() | st.text("aA%2Ee.F0*", min_size=1))
def test_untoken_takes_only_what_token_makes(text: str) -> None:
    try:
        name = untoken(text)
    except InvalidSubject:
        return
    assert token(name) == text


@pytest.mark.parametrize("text", VECTORS["no_tokens"])
def test_no_tokens(text: str) -> None:
    with pytest.raises(InvalidSubject):
        untoken(text)


@pytest.mark.parametrize(("name", "text"), VECTORS["tokens"])
def test_token_vectors(name: str, text: str) -> None:
    assert token(name) == text
    assert untoken(text) == name


@pytest.mark.parametrize(("name", "form"), VECTORS["usernames"])
def test_usernames(name: str, form: str) -> None:
    assert subjects.username(name) == form
    assert subjects.username(form) == form


@pytest.mark.parametrize("name", VECTORS["refused_usernames"])
def test_refused_usernames(name: str) -> None:
    with pytest.raises(InvalidName):
        subjects.username(name)


def test_limits_of_names() -> None:
    assert subjects.username("a" * 160)
    for name in ("a" * 161, "." * 54, "é" * 27):
        with pytest.raises(InvalidName, match="160"):
            subjects.username(name)
    assert subjects.username("." * 53)
    with pytest.raises(InvalidName, match="254"):
        subjects.username("a" * 255)
    assert subjects.app_name("a" * 64) == "a" * 64
    for app in ("", " ", "a" * 65, "é" * 33, "a\tb"):
        with pytest.raises(InvalidName):
            subjects.app_name(app)
    assert subjects.app_name(" Chat ") == "chat"


def test_emails_need_an_at() -> None:
    assert subjects.username("bot") == "bot"
    assert subjects.username("A@x", email=True) == "a@x"
    with pytest.raises(InvalidName, match="@"):
        subjects.username("bot", email=True)


@given(st.text())
def test_a_username_is_canonical_or_refused(name: str) -> None:
    try:
        form = subjects.username(name)
    except InvalidName:
        return
    assert subjects.username(form) == form
    assert unicodedata.normalize("NFC", unicodedata.normalize("NFC", form).lower()) == form
    # Nothing but ASCII case and outer spaces was merged.
    assert form == "".join(c.lower() if c.isascii() else c for c in name.strip(" "))
    assert not any(unicodedata.category(char)[0] in "CZ" for char in form)
    assert len(token(form)) <= 160


STORED = st.booleans()


@given(NAMES, NAMES, NAMES, STORED)
def test_requests_round_trip(requester: str, responder: str, app: str, stored: bool) -> None:  # noqa: FBT001
    request = Request(requester, responder, app, stored)
    assert Request.parse(request.text) == request
    response = request.response(REQUEST_ID)
    assert response == Response(requester, responder, app, REQUEST_ID, stored)
    assert Response.parse(response.text) == response
    for wrong in (Request.parse, Response.parse):
        with pytest.raises(InvalidSubject):
            wrong((response if wrong == Request.parse else request).text)


def test_subjects_are_spelt_as_the_contract_says() -> None:
    request = Request("alice@x.com", "bob", "chat")
    assert request.text == "requests.alice@x%2Ecom.bob.chat"
    assert request._replace(stored=True).text == "requests.alice@x%2Ecom.bob.chat.stored"
    answer = f"responses.alice@x%2Ecom.bob.chat.{REQUEST_ID}"
    assert request.response(REQUEST_ID).text == answer
    assert request._replace(stored=True).response(REQUEST_ID).text == f"{answer}.stored"
    assert subjects.inbox_prefix("alice@x.com") == "_INBOX.alice@x%2Ecom"
    # An app may be called so; the number of tokens tells.
    assert Request.parse("requests.a.b.stored") == Request("a", "b", "stored")


@pytest.mark.parametrize("text", [
    "", "requests", "requests.a.b", "requests.a.b.c.d", "requests.a.b.c.stored.x", "requests.a..c",
    "requests.a.*.c", "requests.a.b.>", "responses.a.b.c", "Requests.a.b.c", "requests.a.b.%2e",
    "requests.a.b.c.STORED", "requests.a.b.é",
])  # fmt: skip
def test_what_is_no_request(text: str) -> None:
    with pytest.raises(InvalidSubject):
        Request.parse(text)


@pytest.mark.parametrize("end", [
    "", REQUEST_ID[1:], REQUEST_ID + "0", REQUEST_ID.upper(), "g" * 32, "*", REQUEST_ID + "\n",
    REQUEST_ID + ".stored.stored", REQUEST_ID + ".later",
])  # fmt: skip
def test_what_is_no_response(end: str) -> None:
    with pytest.raises(InvalidSubject):
        Response.parse(f"responses.a.b.c.{end}")
    with pytest.raises(InvalidSubject):
        _ = Response("a", "b", "c", end).text


# A model: patterns as the sets of subjects that they match, over a small alphabet. Subjects are
# one token longer than any pattern and have a letter that no pattern has, so that no two
# different sets look the same.
PATTERNS = [
    ".".join(parts) for size in (1, 2, 3) for parts in itertools.product("ab*>", repeat=size)
    if ">" not in parts[:-1]
]  # fmt: skip
CONCRETE = [
    ".".join(parts) for size in (1, 2, 3, 4) for parts in itertools.product("abc", repeat=size)
]


def reached(pattern: str, subject: str) -> bool:
    """NATS's rule, one token after the other."""
    if not pattern:
        return not subject
    head, _, rest = pattern.partition(".")
    first, _, others = subject.partition(".")
    if head == ">":
        return bool(subject)
    return bool(subject) and head in {"*", first} and reached(rest, others)


SETS = {
    pattern: frozenset(subject for subject in CONCRETE if reached(pattern, subject))
    for pattern in PATTERNS
}


def test_matches_as_the_model() -> None:
    for pattern, subject in itertools.product(PATTERNS, CONCRETE):
        assert matches(pattern, subject) is (subject in SETS[pattern]), (pattern, subject)


def test_covers_and_overlaps_as_the_model() -> None:
    for one, two in itertools.product(PATTERNS, repeat=2):
        assert covers(one, two) is (SETS[one] >= SETS[two]), (one, two)
        assert overlaps(one, two) is bool(SETS[one] & SETS[two]), (one, two)


@pytest.mark.parametrize(("pattern", "subject", "result"), VECTORS["matches"])
def test_matches_vectors(pattern: str, subject: str, result: bool) -> None:  # noqa: FBT001
    assert matches(pattern, subject) is result


@pytest.mark.parametrize("subject", VECTORS["no_subjects"])
def test_no_subjects(subject: str) -> None:
    for check in (subjects.validate, lambda text: covers(text, "a"), lambda text: covers("a", text),
                  lambda text: overlaps(text, "a"), lambda text: matches("a", text)):  # fmt: skip
        with pytest.raises(InvalidSubject):
            check(subject)


@pytest.mark.parametrize("subject", ["*", ">", "a.*", "a.>", "*.a"])
def test_a_message_has_no_wildcards(subject: str) -> None:
    assert subjects.validate(subject) == subject
    with pytest.raises(InvalidSubject):
        subjects.validate(subject, wildcards=False)
    with pytest.raises(InvalidSubject):
        matches(">", subject)


@given(st.text(st.sampled_from("a.*> \t\x00\x7fé"), max_size=8))
def test_validate_as_the_rules_say(subject: str) -> None:
    parts = subject.split(".")
    fine = all(parts) and ">" not in parts[:-1] and not set(subject) & set(" \t\x00\x7f")
    for wildcards in (True, False):
        wanted = fine and (wildcards or not {"*", ">"} & set(parts))
        try:
            assert subjects.validate(subject, wildcards=wildcards) == subject
        except InvalidSubject:
            assert not wanted
        else:
            assert wanted


@given(st.lists(st.text(st.sampled_from("a.*>\n \t\x00\x7fé"), max_size=8), max_size=4))
def test_all_valid_where_each_is(several: list[str]) -> None:
    def fine(subject: str) -> bool:
        try:
            subjects.validate(subject)
        except InvalidSubject:
            return False
        return True

    assert subjects.all_valid(several) == all(map(fine, several))
