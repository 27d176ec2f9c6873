from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authsvc import jose
from authsvc.claims import (
    AccountClaims,
    AccountLimits,
    ActivationClaims,
    Authorization,
    AuthorizationRequestClaims,
    AuthorizationResponseClaims,
    Claims,
    Export,
    Import,
    JetStreamLimits,
    MessageTrace,
    OperatorClaims,
    Permission,
    Permissions,
    ServiceLatency,
    TimeRange,
    UserClaims,
    UserScope,
    WeightedMapping,
    encode,
    ensure_valid,
    validate,
)
from authsvc.errors import InvalidClaims
from authsvc.nkey import KeyPair, Prefix

NOW = 1000
OPERATOR = KeyPair.generate(Prefix.OPERATOR)
ACCOUNT = KeyPair.generate(Prefix.ACCOUNT)
OTHER = KeyPair.generate(Prefix.ACCOUNT)
USER = KeyPair.generate(Prefix.USER)
A, OP, U = OTHER.public.text, OPERATOR.public.text, USER.public.text


def user(**changes: Any) -> UserClaims:
    return UserClaims(subject=U, **{"permissions": Permissions.nothing(), **changes})


def publish(*allow: str, deny: tuple[str, ...] = ()) -> Permissions:
    return Permissions(publish=Permission(allow=allow, deny=deny))


def subscribe(*allow: str) -> Permissions:
    return Permissions(subscribe=Permission(allow=allow))


def account(**changes: Any) -> AccountClaims:
    return AccountClaims(subject=ACCOUNT.public.text, **changes)


def service(**changes: Any) -> Import:
    return Import(**{"subject": "svc", "account": A, "type": "service", **changes})


def stream(**changes: Any) -> Import:
    return service(type="stream", **changes)


def scope(**changes: Any) -> dict[str, UserScope | None]:
    return {A: UserScope(**{"key": A, "permissions": publish("a"), **changes})}


def activation(key: KeyPair = OTHER, **changes: Any) -> str:
    arguments = {"subject": ACCOUNT.public.text, "import_subject": "private.>",
                 "import_type": "stream", **changes}  # fmt: skip
    return encode(ActivationClaims(**arguments), key)


FINE: list[Claims] = [
    user(),
    user(expires=NOW, not_before=NOW),
    user(permissions=subscribe("a.> workers", "b")),
    user(src=("192.0.2.0/24", "2001:db8::1/64")),
    user(times=(TimeRange(start="8:00:00", end="17:00:59"),)),
    user(locale="America/Argentina/Buenos_Aires", issuer_account=A, issuer=A),
    OperatorClaims(subject=OP),
    OperatorClaims(subject=OP, operator_service_urls=["nats://a:4222", "", "wss://b"]),
    account(),
    account(imports=[service(subject="a.*.b", local_subject="c.$1")]),
    account(imports=[service(subject="a"), service(subject="a", account=ACCOUNT.public.text)]),
    account(imports=[stream(subject="a.>", local_subject="b.>"), stream(subject="a.>")]),
    account(imports=[stream(subject="private.news", token=activation())]),
    account(exports=[Export(subject="a.>", type="stream"), Export(subject="a.b", type="service")]),
    account(exports=[Export(subject="a.*", type="service", account_token_position=2)]),
    account(mappings={"a": [WeightedMapping(subject="b", weight=60),
                            WeightedMapping(subject="c", weight=60, cluster="eu")]}),
    account(authorization=Authorization(auth_users=(U,), allowed_accounts=("*",))),
    account(trace=MessageTrace(destination="t")),
    account(signing_keys={A: None}),
    account(signing_keys=scope()),
    account(limits=AccountLimits(tiers={"R1": JetStreamLimits(disk_storage=-1)})),
    account(revocations={"*": 1, U: 2}, issuer=OP),
    AuthorizationRequestClaims(subject=U, user_nkey=U),
]  # fmt: skip

WRONG: list[tuple[Claims, str]] = [
    (user(expires=NOW - 1), "expired"),
    (user(not_before=NOW + 1), "not valid yet"),
    (user(issuer=OP), "may not sign"),
    (user(issuer=A[:-1]), "may not sign"),
    (UserClaims(subject=A), "no public key for user"),
    (user(issuer_account=U), "account key"),
    (user(permissions=publish("a..b")), "empty token"),
    (user(permissions=publish("")), "empty token"),
    (user(permissions=publish("a.>.b")), "before its end"),
    (user(permissions=publish("a queue")), "white space"),
    (user(permissions=publish("a", deny=("b\tc",))), "white space"),
    (user(permissions=subscribe("a b c")), "white space"),
    (user(permissions=subscribe("a .b")), "empty token"),
    (user(src=("192.0.2.1",)), "no network|not a network"),
    (user(src=("192.0.2.0/33",)), "not a network"),
    (user(times=(TimeRange(start="25:00:00", end="08:00:00"),)), "start"),
    (user(times=(TimeRange(start="08:00:00"),)), "end"),
    (user(locale="not a zone"), "time zone"),
    (OperatorClaims(subject=A), "no public key for operator"),
    (OperatorClaims(subject=OP, signing_keys=[A]), "signing key"),
    (OperatorClaims(subject=OP, system_account=U), "system account"),
    (OperatorClaims(subject=OP, account_server_url="host/path"), "account server"),
    (OperatorClaims(subject=OP, operator_service_urls=["http://a"]), "nats, tls"),
    (OperatorClaims(subject=OP, operator_service_urls=["nats://a/b"]), "path"),
    (OperatorClaims(subject=OP, operator_service_urls=["nats://u:p@a"]), "credentials"),
    (OperatorClaims(subject=OP, assert_server_version="2.14"), "2.14.3"),
    (account(imports=[Import(subject="a", account=A)]), "neither"),
    (account(imports=[stream(share=True)]), "shares"),
    (account(imports=[service(allow_trace=True)]), "traces"),
    (account(imports=[service(account="")]), "account key"),
    (account(imports=[service(subject="")]), "empty token"),
    (account(imports=[service(local_subject="b", to="c")]), "says the same"),
    (account(imports=[service(subject="a.>", local_subject="b")]), "end in '>'"),
    (account(imports=[service(subject="a.*", local_subject="b.$2")]), "does not have"),
    (account(imports=[service(subject="a.*.*", local_subject="b.$1")]), "every wildcard"),
    (account(imports=[service(subject="a.>"), service(subject="a.b")]), "overlap"),
    (account(imports=[service(subject="a"), service(subject="b", local_subject="a")]), "overlap"),
    (account(imports=[stream(subject="private.news", token="x")]), "does not hold"),
    (account(imports=[stream(token=encode(user(), ACCOUNT))]), "another kind"),
    (account(imports=[stream(subject="private.a", token=activation(ACCOUNT))]), "another account"),
    (account(imports=[stream(subject="private.a", token=activation(subject=A))]), "for another"),
    (account(imports=[service(subject="private.a", token=activation())]), "is for a stream"),
    (account(imports=[stream(subject="public.a", token=activation())]), "private.>"),
    (account(imports=[stream(subject="b", token=activation(import_subject="b."))]), "empty token"),
    (account(exports=[Export(subject="a")]), "neither"),
    (account(exports=[Export(subject="a", type="stream", response_type="Stream")]), "response"),
    (account(exports=[Export(subject="a", type="service", response_type="Many")]), "unknown"),
    (account(exports=[Export(subject="a", type="stream", allow_trace=True)]), "traces"),
    (account(exports=[Export(subject="a", type="service", response_threshold=-1)]), "negative"),
    (account(exports=[Export(subject="a", type="stream", response_threshold=1)]), "threshold"),
    (account(exports=[Export(subject="a.b", type="stream", account_token_position=2)]), "importer"),
    (account(exports=[Export(subject="a.*", type="stream", account_token_position=3)]), "importer"),
    (account(exports=[Export(subject="a", type="stream",
                             service_latency=ServiceLatency(results="l"))]), "latency"),
    (account(exports=[Export(subject="a", type="service", service_latency=ServiceLatency())]),
     "empty token"),
    (account(exports=[Export(subject="a", type="service",
                             service_latency=ServiceLatency(sampling=101, results="l.*"))]),
     "wildcards"),
    (account(exports=[Export(subject="a", type="stream", info_url="nowhere")]), "no host"),
    (account(exports=[Export(subject="a.*", type="stream"), Export(subject="a.b", type="stream")]),
     "overlap"),
    (account(limits=AccountLimits(imports=0), imports=[stream()]), "more imports"),
    (account(limits=AccountLimits(exports=0), exports=[Export(subject="a", type="stream")]),
     "more exports"),
    (account(limits=AccountLimits(exports=1, wildcard_exports=False),
             exports=[Export(subject="a.*", type="stream")]), "exports wildcards"),
    (account(limits=AccountLimits(jetstream=JetStreamLimits(streams=1),
                                  tiers={"R1": JetStreamLimits()})), "both in tiers"),
    (account(limits=AccountLimits(tiers={"": JetStreamLimits()})), "no name"),
    (account(signing_keys={U: None}), "signing key"),
    (account(signing_keys={ACCOUNT.public.text: UserScope(key=A)}), "another key"),
    (account(signing_keys=scope(subs=0)), "limit of 0"),
    (account(signing_keys=scope(permissions=publish("a b c"))), "white space"),
    (account(default_permissions=publish("a.")), "empty token"),
    (account(mappings={"a": [WeightedMapping(subject="b"), WeightedMapping(subject="c")]}), "100"),
    (account(mappings={"a b": []}), "white space"),
    (account(mappings={"a": [WeightedMapping(subject="")]}), "empty token"),
    (account(authorization=Authorization(allowed_accounts=(A,))), "no users"),
    (account(authorization=Authorization(auth_users=(A,))), "user key"),
    (account(authorization=Authorization(auth_users=(U,), allowed_accounts=("*", A))), "key"),
    (account(authorization=Authorization(auth_users=(U,), xkey=A)), "curve key"),
    (account(trace=MessageTrace(destination="t.*")), "wildcards"),
    (account(trace=MessageTrace(destination="t", sampling=101)), "100 percent"),
    (account(cluster_traffic="both"), "system or owner"),
    (account(description="x" * 8193), "8192"),
    (account(info_url="https:///path"), "no host"),
    (ActivationClaims(subject=A, import_subject="a"), "neither"),
    (ActivationClaims(subject=A, import_subject="a", import_type="stream", issuer_account=U),
     "account key"),
    (AuthorizationRequestClaims(subject=U), "user_nkey"),
    (AuthorizationResponseClaims(subject=U, audience=U, error="x"), "audience"),
    (AuthorizationResponseClaims(subject=U), "either"),
]  # fmt: skip


@pytest.mark.parametrize("claims", FINE)
def test_fine(claims: Claims) -> None:
    ensure_valid(claims, NOW)


@pytest.mark.parametrize(("claims", "text"), WRONG)
def test_wrong(claims: Claims, text: str) -> None:
    with pytest.raises(InvalidClaims, match=text) as refused:
        ensure_valid(claims, NOW)
    assert len(refused.value.issues) >= 1


def test_every_issue_is_collected() -> None:
    claims = user(expires=1, permissions=publish("a..b", "c d"), src=("x",), issuer_account="y")
    with pytest.raises(InvalidClaims) as refused:
        ensure_valid(claims, NOW)
    assert len(refused.value.issues) == 5
    assert len(validate(claims, NOW)) == 5


@pytest.mark.parametrize(
    ("claims", "text"),
    [
        (UserClaims(subject=U), "publish and subscribe everything"),
        (account(signing_keys={A: UserScope(key=A)}), "allows every subject"),
        (account(issuer=A), "signed its own limits"),
        (account(revocations={"x": 1}), "revokes nobody"),
        (account(imports=[service(to="b")]), "outdated"),
    ],
)
def test_warnings_do_not_block(claims: Claims, text: str) -> None:
    ensure_valid(claims, NOW)
    (issue,) = validate(claims, NOW)
    assert (issue.level, issue.blocking) == ("warning", False)
    assert text in issue.text


def test_scoped_users_have_nothing_of_their_own() -> None:
    claims = user(src=("192.0.2.0/24",), bearer_token=True, subs=5).scoped()
    assert claims.body() == {"pub": {}, "sub": {}, "type": "user", "version": 2}
    assert validate(claims, NOW) == []


def test_credentials_in_a_url_do_not_reach_the_message() -> None:
    claims = OperatorClaims(subject=OP, operator_service_urls=["nats://u:hunter2@a"])
    assert "hunter2" not in str(validate(claims, NOW))


def test_a_seed_given_for_a_public_key_does_not_reach_the_message() -> None:
    seeds = [KeyPair.generate(prefix).seed for prefix in Prefix]
    for seed in seeds:
        keys: dict[str, UserScope | None] = {seed: None, A: UserScope(key=seed)}
        wrong: list[Claims] = [
            UserClaims(subject=seed, issuer=seed, issuer_account=seed),
            OperatorClaims(subject=seed, signing_keys=[seed], system_account=seed),
            AccountClaims(subject=seed, signing_keys=keys, revocations={seed: 1},
                          authorization=Authorization(auth_users=(seed,), xkey=seed),
                          imports=[service(account=seed)]),
            AuthorizationRequestClaims(subject=seed, user_nkey=seed),
        ]  # fmt: skip
        for claims in wrong:
            assert validate(claims, NOW)
            assert seed not in str(validate(claims, NOW))
            with pytest.raises(InvalidClaims) as refused:
                encode(UserClaims(subject=seed), OTHER)
            assert seed not in str(refused.value)


SUBJECTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))


@given(SUBJECTS)
def test_permissions_are_never_empty(subjects: list[str]) -> None:
    """An empty allow list would allow everything: nothing to allow is written as a denial."""
    permission = Permission.only(subjects)
    assert not permission.empty
    assert permission.allow == tuple(subjects)
    assert permission.deny == (() if subjects else (">",))
    assert Permission.read(jose.loads(jose.dumps(permission.body()))) == permission
    nothing = Permissions.nothing().body()
    assert nothing == {"pub": {"deny": (">",)}, "sub": {"deny": (">",)}}


def test_thousands_of_overlaps_are_said_a_hundred_times() -> None:
    """Pairs of two thousand that are alike would be two million sentences."""
    exports = [Export(name="e", subject="a.>", type="stream") for _ in range(2000)]
    claims = AccountClaims(subject=A, issued_at=1, exports=exports)
    said = [issue for issue in validate(claims, 2) if "overlap" in issue.text]
    assert len(said) == 100
