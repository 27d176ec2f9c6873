from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authsvc import jose
from authsvc.claims import (
    MAX_JWT_BYTES,
    AccountClaims,
    ActivationClaims,
    Claims,
    GenericClaims,
    Import,
    JetStreamLimits,
    OperatorClaims,
    Permission,
    Permissions,
    UserClaims,
    decode,
    decode_account,
    decode_operator,
    decode_user,
    encode,
    says,
)
from authsvc.errors import InvalidClaims
from authsvc.nkey import KeyPair, Prefix
from tests.claims.random_claims import RandomClaims

OPERATOR = KeyPair.generate(Prefix.OPERATOR)
ACCOUNT = KeyPair.generate(Prefix.ACCOUNT)
USER = KeyPair.generate(Prefix.USER)
KINDS: dict[str, type[Claims]] = {
    "user": UserClaims,
    "account": AccountClaims,
    "operator": OperatorClaims,
}
HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
MEMBERS = """
aud exp jti iat iss name nbf sub nats pub sub resp allow deny src times times_location subs data
payload bearer_token allowed_connection_types issuer_account tags imports exports limits
signing_keys revocations default_permissions mappings authorization trace tiered_limits kind key
template server_id client_info connect_opts client_tls type version PUB Sub verified_chains
"""
NAMES = st.sampled_from(sorted(set(MEMBERS.split())))
KIND_NAMES = st.sampled_from(
    ["user", "account", "operator", "activation", "authorization_request",
     "authorization_response", "anything"]
)  # fmt: skip


def user(**changes: Any) -> UserClaims:
    arguments: dict[str, Any] = {
        "subject": USER.public.text,
        "name": "alice",
        "issued_at": 100,
        "permissions": Permissions(publish=Permission.only(["a.>"]), subscribe=Permission.only()),
        **changes,
    }
    return UserClaims(**arguments)


def signed(payload: Any, header: Any = HEADER, key: KeyPair = ACCOUNT) -> str:
    """A JWT of anything, its signature right."""
    head = header if isinstance(header, bytes) else jose.dumps(header)
    # The standard library writes what is no JSON as well: huge numbers, NaN, lone surrogates.
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    text = f"{jose.b64encode(head)}.{jose.b64encode(body)}"
    return f"{text}.{jose.b64encode(key.sign(text.encode()))}"


def payload(**changes: Any) -> dict[str, Any]:
    nats = {"pub": {}, "sub": {}, "type": "user", "version": 2, **changes.pop("nats", {})}
    shared = {"iss": ACCOUNT.public.text, "sub": USER.public.text, "iat": 1}
    return {**shared, "nats": nats, **changes}


@given(st.integers(min_value=0), st.sampled_from(sorted(KINDS)))
def test_round_trip(seed: int, kind: str) -> None:
    made, key = RandomClaims(random.Random(seed)).payload(kind)  # noqa: S311 - repeatable
    nats = made["nats"]
    claims = KINDS[kind].read(made, nats)
    token = encode(claims, key)
    again = decode(token)
    assert encode(again, key) == token
    if kind == "account":
        assert isinstance(claims, AccountClaims)
        claims.imports.sort(key=lambda entry: entry.subject)
        claims.exports.sort(key=lambda entry: entry.subject)
    assert again == claims


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives(name: str) -> None:
    claims = user(name=name, audience=name, tags=(name,), expires=7)
    assert decode_user(encode(claims, ACCOUNT)) == claims


def test_a_text_that_looks_like_members_moves_nothing() -> None:
    claims = user(audience='","iat":9,"iss":"x', name='"iss":"y","nats":{}', issued_at=0)
    assert decode_user(encode(claims, ACCOUNT)) == claims


def test_encode_sets_issuer_and_id_and_nothing_else() -> None:
    claims = user()
    token = encode(claims, ACCOUNT)
    first = claims.id
    assert claims.issuer == ACCOUNT.public.text
    assert decode_user(token) == claims
    assert encode(claims, ACCOUNT) == token
    encode(user(name="bob"), ACCOUNT)
    claims.name = "bob"
    encode(claims, ACCOUNT)
    assert claims.id != first


def test_encode_sorts_as_go_does_and_leaves_the_callers_lists() -> None:
    imports = [Import(subject="b"), Import(subject="a")]
    claims = AccountClaims(subject=ACCOUNT.public.text, imports=imports)
    read = decode_account(encode(claims, OPERATOR))
    assert [entry.subject for entry in read.imports] == ["a", "b"]
    assert [entry.subject for entry in imports] == ["b", "a"]


@pytest.mark.parametrize(
    ("claims", "key"),
    [
        (user(), OPERATOR),
        (user(), USER),
        (user(subject=ACCOUNT.public.text), ACCOUNT),
        (user(subject=""), ACCOUNT),
        (user(subject=USER.public.text[:-1] + "1"), ACCOUNT),
        (AccountClaims(subject=USER.public.text), OPERATOR),
        (AccountClaims(subject=ACCOUNT.public.text), USER),
        (OperatorClaims(subject=OPERATOR.public.text), ACCOUNT),
        (GenericClaims(subject=""), ACCOUNT),
        (user(name="\ud800"), ACCOUNT),
        (user(expires=1 << 65), ACCOUNT),
        (GenericClaims(subject="x", data={"n": 10**400}), ACCOUNT),
        (GenericClaims(subject="x", data={"n": float("inf")}), ACCOUNT),
    ],
)
def test_encode_refuses(claims: Claims, key: KeyPair) -> None:
    with pytest.raises(InvalidClaims):
        encode(claims, key)


def test_each_decoder_refuses_other_kinds() -> None:
    tokens = {
        decode_user: encode(user(), ACCOUNT),
        decode_account: encode(AccountClaims(subject=ACCOUNT.public.text), OPERATOR),
        decode_operator: encode(OperatorClaims(subject=OPERATOR.public.text), OPERATOR),
    }
    other = encode(ActivationClaims(subject=ACCOUNT.public.text), ACCOUNT)
    for decoder, own in tokens.items():
        assert decoder(own)
        for token in {*tokens.values(), other} - {own}:
            with pytest.raises(InvalidClaims, match="is of the kind"):
                decoder(token)


def test_what_is_missing_allows_nothing() -> None:
    claims = decode_user(signed(payload()))
    assert (claims.subs, claims.payload, claims.data) == (0, 0, 0)
    account = payload(sub=ACCOUNT.public.text, nats={"type": "account", "limits": {}})
    read = decode_account(signed(account))
    assert (read.limits.connections, read.limits.subs, read.limits.imports) == (0, 0, 0)
    assert not read.limits.wildcard_exports
    assert read.limits.jetstream == JetStreamLimits()


def test_a_template_without_limits_has_none_as_in_go() -> None:
    nats = {"type": "account", "signing_keys": [{"kind": "user_scope", "key": "x"}]}
    scope = decode_account(signed(payload(sub=ACCOUNT.public.text, nats=nats))).signing_keys["x"]
    assert scope is not None
    assert (scope.subs, scope.data, scope.payload) == (-1, -1, -1)


def test_unknown_members_are_ignored_as_in_go() -> None:
    assert decode_user(signed(payload(new=1, nats={"newer": [2]}))).subject == USER.public.text


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "JWT", "alg": "none"},
        {"typ": "JWT", "alg": "HS256"},
        {"typ": "JWT", "alg": "EdDSA"},
        {"typ": "JWT", "alg": "ed25519"},
        {"typ": "jwt", "alg": "ed25519-nkey"},
        {"alg": "ed25519-nkey"},
        {"typ": "JWT"},
        {"typ": 1, "alg": ["ed25519-nkey"]},
        {**HEADER, "crit": ["exp"]},
        {**HEADER, "Alg": "none"},
        b'{"typ":"JWT","alg":"none","alg":"ed25519-nkey"}',
        b"[]",
    ],
)
def test_header_is_refused(header: Any) -> None:
    assert decode(signed(payload()))
    with pytest.raises(InvalidClaims):
        decode(signed(payload(), header))


@pytest.mark.parametrize(
    "changed",
    [
        payload(nats={"version": 1}),
        payload(nats={"version": 3}),
        payload(nats={"version": "2"}),
        payload(nats={"version": 2.0}),
        payload(nats={"version": None}),
        payload(type="user"),
        payload(iss=USER.public.text),
        payload(iss=OPERATOR.public.text),
        payload(iss=None),
        payload(iss="A" * 56),
        payload(sub=ACCOUNT.public.text),
        payload(sub=7),
        payload(sub=None),
        payload(exp="tomorrow"),
        payload(exp=1.5),
        payload(exp=True),
        payload(exp=1 << 63),
        payload(iat=-(1 << 63) - 1),
        payload(name=["alice"]),
        payload(Sub=USER.public.text),
        payload() | {"i\u017fs": "x"},
        payload(nats={"\u017fubs": 1}),
        payload(nats={"\u212aind": "x", "kind": "x", "type": "activation"}),
        payload(nats={"pub": []}),
        payload(nats={"pub": {"allow": "a.>"}}),
        payload(nats={"pub": {"allow": ["a", None]}}),
        payload(nats={"pub": {"Allow": ["a"]}}),
        payload(nats={"PUB": {"allow": ["a"]}}),
        payload(nats={"subs": "1"}),
        payload(nats={"bearer_token": 1}),
        payload(nats={"src": 7}),
        payload(nats={"times": ["08:00:00"]}),
        payload(nats={"resp": 1}),
        payload(nats={"tags": "a"}),
        {**payload(), "nats": []},
        {**payload(), "nats": None},
        b"not json",
        b"\xff\xfe{}",
        b'{"sub":"a","sub":"b"}',
        b"{" * 100_000,
        b'{"iat":' + b"9" * 5000 + b"}",
    ],
)
def test_payload_is_refused(changed: Any) -> None:
    with pytest.raises(InvalidClaims):
        decode(signed(changed))


@pytest.mark.parametrize("key", [USER, OPERATOR, KeyPair.generate(Prefix.SERVER)])
def test_an_issuer_of_the_wrong_kind_is_refused(key: KeyPair) -> None:
    assert decode(signed(payload()))
    with pytest.raises(InvalidClaims, match="can't sign"):
        decode(signed(payload(iss=key.public.text), key=key))


@pytest.mark.parametrize(
    "nats",
    [
        {"imports": [None]},
        {"imports": [{"type": "queue"}]},
        {"imports": [{"type": ""}]},
        {"exports": {}},
        {"exports": [{"service_latency": {"sampling": 101, "results": "a"}}]},
        {"exports": [{"service_latency": {"sampling": "some", "results": "a"}}]},
        {"exports": [{"account_token_position": -1}]},
        {"exports": [{"revocations": {"*": "now"}}]},
        {"limits": {"conn": 1.0}},
        {"limits": {"tiered_limits": {"R1": 1}}},
        {"limits": {"tiered_limits": {"R1": {"Streams": 1}}}},
        {"signing_keys": "A"},
        {"signing_keys": [1]},
        {"signing_keys": [{"kind": "other"}]},
        {"revocations": {"*": 1.5}},
        {"default_permissions": {"Pub": {}}},
        {"mappings": {"a": [{"weight": 256}]}},
        {"mappings": {"a": {}}},
        {"authorization": {"auth_users": 1}},
        {"trace": []},
    ],
)
def test_account_payload_is_refused(nats: dict[str, Any]) -> None:
    account = payload(sub=ACCOUNT.public.text, nats={"type": "account"})
    assert decode_account(signed(account))
    account["nats"] |= nats
    with pytest.raises(InvalidClaims):
        decode(signed(account))


def test_comma_separated_sources_are_read_as_go_reads_them() -> None:
    read = decode_user(signed(payload(nats={"src": " 192.0.2.0/24,2001:DB8::/32,,192.0.2.0/24"})))
    assert read.src == ("192.0.2.0/24", "2001:db8::/32")


def test_a_jwt_above_1_mib_is_refused() -> None:
    token = encode(user(), ACCOUNT)
    with pytest.raises(InvalidClaims, match="1 MiB"):
        decode(token + "A" * MAX_JWT_BYTES)


TOKEN = encode(user(), ACCOUNT)


@given(st.integers(0, len(TOKEN) * 8 - 1))
def test_a_flipped_bit_is_refused(bit: int) -> None:
    data = bytearray(TOKEN.encode())
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(InvalidClaims):
        decode(data.decode("latin-1"))


@given(st.integers(0, len(TOKEN) - 1))
def test_a_truncated_jwt_is_refused(length: int) -> None:
    with pytest.raises(InvalidClaims):
        decode(TOKEN[:length])


@given(st.text() | st.text(alphabet="eyJA.-_=").map(lambda text: f"{text}.{text}.{text}"))
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidClaims):
        decode(text)


@given(JSON, KIND_NAMES, st.dictionaries(NAMES, JSON), st.dictionaries(NAMES, JSON))
def test_any_json_is_read_or_refused(
    anything: Any, kind: str, outside: dict[str, Any], inside: dict[str, Any]
) -> None:
    """Signed well, and yet nothing but claims or InvalidClaims comes out."""
    nats = {**inside, "type": kind, "version": 2}
    for value in (anything, outside, {**payload(), **outside}, {**payload(), "nats": nats}):
        try:
            claims = decode(signed(value))
        except InvalidClaims:
            continue
        assert isinstance(claims, Claims)


def test_a_jwt_says_what_was_signed_and_nothing_else() -> None:
    token = encode(user(), ACCOUNT)
    payload = jose.b64decode(token.split(".")[1])
    assert says(token, payload)
    head, _, signature = token.rpartition(".")
    for wrong in (head, token[:-1], "é", f"{head}=.{signature}", f"x{head[1:]}.{signature}"):
        assert not says(wrong, payload)
    for other in (payload + b" ", payload[:-1], b"", payload.replace(b'"sub"', b'"suB"')):
        assert not says(token, other)
