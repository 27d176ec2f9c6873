"""JWTs, .creds and keys that Go's library and nsc made: tests/vectors/jwt/README.md."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from authsvc import jose
from authsvc.claims import (
    AccountClaims,
    AuthorizationRequestClaims,
    GenericClaims,
    JetStreamLimits,
    OperatorClaims,
    ResponsePermission,
    ServiceLatency,
    TimeRange,
    UserClaims,
    decode,
    encode,
    ensure_valid,
    format_creds,
    parse_creds,
    validate,
)
from authsvc.nkey import KeyPair, Prefix, PublicKey

VECTORS = Path(__file__).parent.parent / "vectors"
ISSUED_AT = 1_700_000_000


def load(name: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((VECTORS / name).read_text("utf-8"))
    return entries


GO = {entry["name"]: entry for entry in load("jwt/go.json")}
NSC = {entry["name"]: entry["jwt"] for entry in load("jwt/nsc.json")}


@pytest.mark.parametrize("name", GO)
def test_go_jwt_reads_and_writes_the_same(name: str) -> None:
    entry = GO[name]
    claims = decode(entry["jwt"])
    assert entry["kind"] == claims.KIND
    jti = claims.id
    claims.issuer = claims.id = ""
    assert encode(claims, KeyPair.from_seed(entry["issuer_seed"])) == entry["jwt"]
    assert claims.id == jti == entry["claims"]["jti"]


@pytest.mark.parametrize("name", GO)
def test_go_and_we_agree_on_what_is_valid(name: str) -> None:
    entry = GO[name]
    issues = validate(decode(entry["jwt"]), ISSUED_AT)
    assert any(issue.blocking for issue in issues) is not entry["valid"], issues


@pytest.mark.parametrize("name", NSC)
def test_nsc_jwt_reads_and_writes_the_same(name: str) -> None:
    claims = decode(NSC[name])
    ensure_valid(claims, claims.issued_at)
    # Its keys are gone: all but issuer, id and signature can be compared.
    key = KeyPair.generate(PublicKey.parse(claims.issuer).prefix)
    issuer, jti = claims.issuer, claims.id
    ours = jose.split(encode(claims, key)).payload
    theirs = jose.split(NSC[name]).payload
    assert list(ours) == list(theirs)
    assert json.dumps(ours | {"iss": issuer, "jti": jti}) == json.dumps(theirs)


def test_every_member_of_a_user() -> None:
    claims = decode(GO["user, everything set"]["jwt"])
    assert isinstance(claims, UserClaims)
    assert claims.permissions.publish.allow == ("requests.alice.>", "$SYS.REQ.USER.INFO")
    assert claims.permissions.publish.deny == ("requests.alice.secret",)
    assert claims.permissions.subscribe.allow[1] == "requests.*.alice.> workers"
    assert claims.permissions.responses == ResponsePermission(max_messages=-1, expires=10**9)
    assert (claims.subs, claims.data, claims.payload) == (1000, -1, 8388608)
    assert claims.src == ("192.0.2.0/24", "2001:db8::/32")
    assert claims.times[1] == TimeRange(start="13:00:00", end="23:59:59")
    assert (claims.locale, claims.bearer_token) == ("America/New_York", True)
    assert (claims.proxy_required, claims.allowed_connection_types) == (True, ("STANDARD",))
    assert (claims.tags, claims.audience) == (("credential:crd_1",), "people")
    assert (claims.expires, claims.not_before) == (ISSUED_AT + 3600, ISSUED_AT)
    assert PublicKey.parse(claims.issuer_account, Prefix.ACCOUNT)


def test_every_member_of_an_account() -> None:
    claims = decode(GO["account, everything set"]["jwt"])
    assert isinstance(claims, AccountClaims)
    assert [entry.name for entry in claims.imports] == ["a", "z"]
    assert claims.imports[1].local_subject == "in.$2.$1"
    assert claims.imports[1].share
    assert claims.imports[0].token
    service = claims.exports[2]
    assert (service.subject, service.type, service.token_required) == ("svc.*.run", "service", True)
    assert service.service_latency == ServiceLatency(sampling=25, results="latency.svc")
    assert (service.response_type, service.response_threshold) == ("Stream", 1_500_000_000)
    assert (service.account_token_position, service.advertise, service.allow_trace) == (
        2,
        True,
        True,
    )
    assert sorted(service.revocations.values()) == [ISSUED_AT - 5, ISSUED_AT]
    limits = claims.limits
    assert (limits.subs, limits.data, limits.payload, limits.imports, limits.exports) == (
        1,
        2,
        3,
        4,
        5,
    )
    assert (limits.connections, limits.leaf_connections, limits.disallow_bearer) == (6, 7, True)
    assert limits.tiers["R1"] == JetStreamLimits(disk_storage=-1)
    scope = next(scope for scope in claims.signing_keys.values() if scope)
    assert (scope.role, scope.description) == ("reader", "reads <everything>")
    assert scope.permissions.subscribe.allow[1] == "news.{{tag(region)}} queue"
    assert claims.revocations["*"] == ISSUED_AT - 60
    assert claims.default_permissions.publish.deny == (">",)
    assert [target.weight for target in claims.mappings["old.*"]] == [60, 40]
    assert len(claims.authorization.allowed_accounts) == 2
    assert claims.trace is not None
    assert (claims.trace.destination, claims.trace.sampling) == ("traces", 10)
    assert (claims.cluster_traffic, claims.info_url) == (
        "owner",
        "https://example.com/account?a=1&b=2",
    )


def test_every_member_of_an_operator_and_a_request() -> None:
    operator = decode(GO["operator, everything set"]["jwt"])
    assert isinstance(operator, OperatorClaims)
    assert len(operator.signing_keys) == 1
    assert operator.operator_service_urls[1] == "wss://two.example.com"
    assert (operator.assert_server_version, operator.strict_signing_key_usage) == ("2.14.3", True)
    request = decode(GO["authorization request, everything set"]["jwt"])
    assert isinstance(request, AuthorizationRequestClaims)
    assert (request.server.cluster, request.client.id) == ("c", (1 << 64) - 1)
    assert (request.connect.signature, request.connect.protocol) == ("s", 1)
    assert request.tls is not None
    assert request.tls.verified_chains == (("a", "b"),)
    # Passwords and tokens of clients stay out of logs.
    assert "'p'" not in repr(request.connect)
    generic = decode(GO["generic"]["jwt"])
    assert isinstance(generic, GenericClaims)
    assert generic.data["type"] == "resolver_delete"


@pytest.mark.parametrize("maker", ["go", "nsc"])
def test_creds(maker: str) -> None:
    text = (VECTORS / "jwt" / f"{maker}.creds").read_text("ascii")
    creds = parse_creds(text)
    assert format_creds(creds.jwt, creds.key) == text


@pytest.mark.parametrize("entry", load("nkey/go.json"), ids=lambda entry: entry["public"][:6])
def test_nkeys(entry: dict[str, Any]) -> None:
    prefix = Prefix[entry["kind"].upper()]
    pair = KeyPair.from_seed(entry["seed"], prefix)
    made = KeyPair(prefix, bytes.fromhex(entry["raw_seed"]))
    assert pair.public.text == made.public.text == entry["public"]
    assert pair.seed == made.seed == entry["seed"]
    signature = base64.b64decode(entry["signature"])
    assert pair.sign(entry["message"].encode()) == signature
    assert PublicKey.parse(entry["public"], prefix).verify(entry["message"].encode(), signature)
