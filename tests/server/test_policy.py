"""What users may do: the contract's section 2, to the letter."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from authsvc import subjects
from authsvc.errors import InvalidName
from authsvc.server.policy import TEMPLATE_NAME, explain, permissions, template

U = "alice@example%2Ecom"


@dataclass
class Granted:
    publish: list[str] = field(default_factory=list)
    subscribe: list[str] = field(default_factory=list)


def test_the_contracts_lists() -> None:
    allowed = permissions(U)
    assert list(allowed.publish.allow) == [
        f"requests.{U}.>",
        f"responses.*.{U}.>",
        f"$JS.mail.API.CONSUMER.MSG.NEXT.requests_{U}.*",
        f"$JS.ACK.requests_{U}.>",
        f"$JS.ACK._.*.requests_{U}.>",
        f"$JS.mail.API.STREAM.MSG.GET.responses_{U}",
        "$SYS.REQ.USER.INFO",
    ]
    assert list(allowed.subscribe.allow) == [
        f"responses.{U}.>",
        f"requests.*.{U}.>",
        f"_INBOX.{U}.>",
    ]
    assert allowed.publish.deny == allowed.subscribe.deny == ()
    assert allowed.responses is None


def test_grants_are_added_once() -> None:
    extra = Granted(publish=["extra.>", f"requests.{U}.>"], subscribe=["news.*"])
    allowed = permissions(U, grants=[extra, extra])
    assert allowed.publish.allow[7:] == ("extra.>",)
    assert allowed.subscribe.allow[3:] == ("news.*",)


def test_a_narrowed_credential_gets_no_grants() -> None:
    extra = Granted(publish=["extra.>"])
    assert permissions(U, app="chat", grants=[extra]) == permissions(U, app="chat")


def test_narrowed_is_less() -> None:
    whole, narrowed = permissions(U), permissions(U, app="chat")
    for kind in ("publish", "subscribe"):
        wide = getattr(whole, kind).allow
        for entry in getattr(narrowed, kind).allow:
            assert any(subjects.covers(other, entry) for other in wide), entry
    assert explain(narrowed, "publish", f"requests.{U}.bob.chat") is not None
    assert explain(narrowed, "publish", f"requests.{U}.bob.chat.stored") is not None
    assert explain(narrowed, "publish", f"requests.{U}.bob.other") is None
    assert explain(narrowed, "publish", f"responses.bob.{U}.other.{'0' * 32}") is None
    assert explain(narrowed, "subscribe", f"requests.*.{U}.>") is None
    assert explain(narrowed, "publish", f"$JS.mail.API.STREAM.MSG.GET.responses_{U}") is None


def test_explain_names_the_rule() -> None:
    allowed = permissions(U)
    assert explain(allowed, "publish", f"requests.{U}.bob.chat") == f"requests.{U}.>"
    assert explain(allowed, "publish", "requests.bob.alice.chat") is None
    assert explain(allowed, "subscribe", "requests.>") is None
    assert explain(allowed, "subscribe", f"requests.*.{U}.chat") == f"requests.*.{U}.>"


def test_a_subscription_is_compared_as_nats_server_does() -> None:
    # Token by token: "*" in an entry takes the ">" of a subscription; tested on the real server
    # in tests/server/api/admin/test_explain.py.
    allowed = permissions(U, grants=[Granted(publish=["a.*"], subscribe=["a.*", "b.c"])])
    assert explain(allowed, "subscribe", "a.>") == "a.*"
    assert explain(allowed, "subscribe", "a.*.>") is None
    assert explain(allowed, "subscribe", "b.>") is None
    assert explain(allowed, "subscribe", ">") is None
    wide = permissions(U, grants=[Granted(subscribe=["*"])])
    assert explain(wide, "subscribe", ">") == "*"


@st.composite
def names(draw: st.DrawFn) -> str:
    text = draw(st.text(min_size=1, max_size=30) | st.text("ab.*>%@+{} $_", min_size=1))
    try:
        return subjects.username(text)
    except InvalidName:
        return "fallback@example.com"


def filled(entries: tuple[str, ...], token: str) -> list[str]:
    """As nats-server fills a template in: each expression alone, whatever the name holds."""
    return [token.join(entry.split(TEMPLATE_NAME)) for entry in entries]


@st.composite
def granted(draw: st.DrawFn) -> Granted:
    entry = st.lists(st.sampled_from(["a", "b", "*", "x.y", "news", "%7B"]), min_size=1)
    entries = st.lists(entry.map(".".join), max_size=3)
    return Granted(publish=draw(entries), subscribe=draw(entries))


@given(names(), st.lists(granted(), max_size=3))
def test_a_template_filled_in_is_what_a_jwt_says(name: str, grants: list[Granted]) -> None:
    token = subjects.token(name)
    allowed, made = permissions(token, grants=grants), template(grants)
    assert filled(made.publish.allow, token) == list(allowed.publish.allow)
    assert filled(made.subscribe.allow, token) == list(allowed.subscribe.allow)
    # One name, one token: nothing in it is replaced, splits it or matches more than itself.
    assert not set("{}*>. \t") & set(token)
    for entry in (*made.publish.allow, *made.subscribe.allow):
        subjects.validate(entry, wildcards=True)


def test_a_template_has_no_other_expression() -> None:
    extra = Granted(publish=["{{tag(x)}}.>", "a.{{name()}}", "ok"], subscribe=["{{name()}}.>"])
    made = template([extra])
    assert made.publish.allow == (*template().publish.allow, "ok")
    assert made.subscribe.allow == template().subscribe.allow


@given(names(), names())
def test_no_user_reaches_another(one: str, two: str) -> None:
    if one == two:
        return
    mine, theirs = permissions(subjects.token(one)), permissions(subjects.token(two))
    own = subjects.token(two)
    heard = [f"responses.{own}.>", f"_INBOX.{own}.>"]
    for subject in heard:
        for entry in mine.subscribe.allow:
            assert not subjects.overlaps(entry, subject)
    # What the other may publish as requester or responder, nobody else may.
    for entry in (f"requests.{own}.>", f"responses.*.{own}.>"):
        assert entry in theirs.publish.allow
        same_kind = [it for it in mine.publish.allow if it.split(".")[0] == entry.split(".")[0]]
        assert same_kind
        for other in same_kind:
            assert not subjects.overlaps(other, entry)


@given(names(), st.none() | st.sampled_from(["chat", "a%2Eb"]))
def test_never_empty(name: str, app: str | None) -> None:
    allowed = permissions(subjects.token(name), app=app)
    assert allowed.publish.allow
    assert allowed.subscribe.allow
