"""syft:// URLs: what is put together is taken apart again."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authsvc import subjects
from authsvc.errors import InvalidInput, InvalidName
from authsvc.rpc._syftbox.url import SyftUrl

parse = SyftUrl.parse
CHARS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=30)
NAMES = CHARS | st.text("abz09.%/?#@+*>-_:é&= ", min_size=1, max_size=20)
TARGETS = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#"), max_size=40
).map("/".__add__)


def canonical(name: str, *, app: bool = False) -> str | None:
    try:
        return subjects.app_name(name) if app else subjects.username(name)
    except InvalidName:
        return None


USERS = NAMES.map(canonical).filter(bool)
APPS = NAMES.map(lambda name: canonical(name, app=True)).filter(bool)


@settings(deadline=None)  # the machine may be busy
@given(USERS, APPS, TARGETS)
def test_they_round_trip(user: str, app: str, target: str) -> None:
    url = SyftUrl(user, app, target)
    assert parse(str(url)) == url
    assert SyftUrl.of(user, app, target) == url
    # As a parser of URLs that knows nothing of ours reads it.
    parts = urlsplit(str(url))
    assert unquote(parts.netloc) == user
    assert unquote(parts.path.split("/")[2]) == app


@settings(deadline=None)
@given(st.text())
def test_any_target_has_a_url_unless_it_has_a_fragment(target: str) -> None:
    try:
        url = SyftUrl.of("bob@x.com", "ping", target)
    except InvalidInput:
        assert "#" in target
        return
    assert parse(str(url)) == url


@settings(deadline=None)  # the machine may be busy
@given(USERS, APPS, USERS, APPS)
def test_different_apps_have_different_urls(user: str, app: str, user2: str, app2: str) -> None:
    same = str(SyftUrl(user, app)) == str(SyftUrl(user2, app2))
    assert same is ((user, app) == (user2, app2))


@settings(deadline=None)  # the machine may be busy
@given(st.text() | st.text("syft:/app_datrc%2F@.?#e", max_size=60).map("syft://b/".__add__))
def test_any_text_is_a_url_or_one_kind_of_error(text: str) -> None:
    try:
        url = parse(text)
    except InvalidInput:
        return
    assert parse(str(url)) == url


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("syft://Bob@X.com/app_data/Ping/rpc/a/b?c=d", "/a/b?c=d"),
        ("syft://bob@x.com/app_data/ping/rpc", "/"),
        ("syft://bob@x.com/app_data/ping/rpc/", "/"),
        ("syft://bob@x.com/app_data/ping", "/"),
        ("syft://bob@x.com/app_data/ping/", "/"),
        ("syft://bob@x.com/app_data/ping?n=1", "/?n=1"),
        ("syft://bob@x.com/app_data/ping/rpc?n=1", "/?n=1"),
        ("syft://bob@x.com/app_data/ping/a", "/a"),
        ("syft://bob@x.com/app_data/ping/rpcs", "/rpcs"),
        ("syft://bob@x.com/app_data/ping/rpc/rpc", "/rpc"),
        ("syft://bob@x.com/api_data/ping/rpc/a", "/a"),
        ("syft://bob@x.com/app_data/ping/rpc/grüße an", "/gr%C3%BC%C3%9Fe%20an"),
    ],
)
def test_what_may_be_missing(url: str, target: str) -> None:
    assert parse(url) == ("bob@x.com", "ping", target)


def test_names_that_a_url_must_encode() -> None:
    assert parse("syft://a%2Ab@x.com/app_data/ping").username == "a*b@x.com"
    url = SyftUrl.of("A/B?@x.com", "50%off#", "ping")
    assert str(url) == "syft://a%2Fb%3F@x.com/app_data/50%25off%23/rpc/ping"
    assert parse(str(url)) == ("a/b?@x.com", "50%off#", "/ping")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "bob@x.com",
        "http://bob@x.com/app_data/ping",
        "syft://bob@x.com",
        "syft://bob@x.com/other/ping",
        "syft:///app_data/ping",
        "syft://bob@x.com/app_data/",
        "syft://bob@x.com/app_data/ping/rpc/a#b",
        "syft://bob%FF@x.com/app_data/ping",
        "syft://bob@x.com/app_data/ping/" + "a" * 20_000,
        "syft://b\u200bob@x.com/app_data/ping",
        "syft://bob@x.com/app_data/ping/\ud800",
    ],
)
def test_what_is_none(url: str) -> None:
    with pytest.raises(InvalidInput):
        parse(url)
    with pytest.raises(InvalidInput):
        SyftUrl.of("bob", "ping", "/a#b")
