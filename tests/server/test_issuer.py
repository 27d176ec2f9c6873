"""The one place that signs user JWTs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from authsvc import jose
from authsvc.claims import Permission, Permissions, UserClaims, decode_user, encode
from authsvc.errors import ClaimsTooLarge, InvalidClaims, KeyUnavailable
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.issuer import Issuer, credential_id
from authsvc.server.policy import permissions

ACCOUNT = KeyPair.generate(Prefix.ACCOUNT).public.text
USER = KeyPair.generate(Prefix.USER).public.text


def issue(issuer: Issuer, **changed: Any) -> Any:
    values: dict[str, Any] = {
        "token": "alice",
        "public_key": USER,
        "credential": "crd_1",
        "permissions": permissions("alice"),
        "subscriptions": 1000,
        "payload": 1 << 20,
        "issued_at": 1_700_000_000,
        "expires_at": 1_700_003_600,
        **changed,
    }
    return issuer.issue(**values)


@pytest.fixture
def issuer() -> Issuer:
    return Issuer(ACCOUNT, KeyPair.generate(Prefix.ACCOUNT))


def test_what_is_signed(issuer: Issuer) -> None:
    minted = issue(issuer)
    claims = decode_user(minted.jwt)
    assert claims.id == minted.jti
    assert claims.issuer == issuer.key.public.text
    assert claims.issuer_account == ACCOUNT
    assert credential_id(claims) == "crd_1"
    assert claims.bearer_token is False
    assert (claims.subs, claims.payload) == (1000, 1 << 20)


def test_what_a_scoped_key_signs(issuer: Issuer) -> None:
    minted = issuer.issue_scoped(
        token="alice", public_key=USER, credential="crd_1", issued_at=10**9, expires_at=2 * 10**9
    )
    claims = decode_user(minted.jwt)
    assert (claims.id, claims.issuer) == (minted.jti, issuer.key.public.text)
    assert (claims.name, claims.subject, claims.issuer_account) == ("alice", USER, ACCOUNT)
    assert credential_id(claims) == "crd_1"
    assert (claims.issued_at, claims.expires) == (minted.issued_at, minted.expires_at)
    # Not even a limit of -1: nats-server would refuse it.
    payload = jose.loads(jose.b64decode(minted.jwt.split(".")[1]))
    assert payload["nats"] == {
        "pub": {},
        "sub": {},
        "issuer_account": ACCOUNT,
        "tags": ["credential:crd_1"],
        "type": "user",
        "version": 2,
    }


def test_the_longest_names_fit(issuer: Issuer) -> None:
    minted = issue(issuer, token="%2E" * 53, permissions=permissions("%2E" * 53))
    assert len(minted.jwt) <= 3500


@pytest.mark.parametrize("count", [60, 400])
def test_too_large_is_refused(issuer: Issuer, count: int) -> None:
    allow = tuple(f"some.rather.long.subject.number.{number}.>" for number in range(count))
    wide = Permissions(publish=Permission(allow=allow), subscribe=Permission(allow=("a",)))
    with pytest.raises(ClaimsTooLarge, match="3500"):
        issue(issuer, permissions=wide)


@pytest.mark.parametrize("side", ["publish", "subscribe"])
def test_an_empty_allow_list_is_refused(issuer: Issuer, side: str) -> None:
    allowed = Permissions(publish=Permission(allow=("a",)), subscribe=Permission(allow=("a",)))
    setattr(allowed, side, Permission())
    with pytest.raises(InvalidClaims, match="empty"):
        issue(issuer, permissions=allowed)


def test_a_key_that_does_not_sign_well_is_not_used() -> None:
    class Broken(KeyPair):
        """Signs something else than it was given."""

        def sign(self, message: bytes) -> bytes:
            return super().sign(message + b" ")

    key = Broken.generate(Prefix.ACCOUNT)
    with pytest.raises(KeyUnavailable):
        Issuer(ACCOUNT, key)


def test_invalid_subjects_never_leave(issuer: Issuer) -> None:
    bad = Permissions(publish=Permission(allow=("a..b",)), subscribe=Permission(allow=("a",)))
    with pytest.raises(KeyUnavailable):
        issue(issuer, permissions=bad)


def test_a_writer_that_goes_wrong_gives_nothing_away(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is checked against is not what wrote."""

    def generous(claims: UserClaims, key: KeyPair, max_bytes: int) -> str:
        wider = replace(
            claims, permissions=Permissions(publish=Permission(), subscribe=Permission())
        )
        return encode(wider, key, max_bytes)

    monkeypatch.setattr("authsvc.server.issuer.encode", generous)
    with pytest.raises(KeyUnavailable, match="not what was asked for"):
        issue(issuer)


@pytest.mark.parametrize("change", [{"bearer_token": True}, {"src": ("0.0.0.0/0",)}, {"data": 5}])
def test_a_member_that_nobody_asked_for_is_noticed(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    def more(claims: UserClaims, key: KeyPair, max_bytes: int) -> str:
        return encode(replace(claims, **change), key, max_bytes)

    monkeypatch.setattr("authsvc.server.issuer.encode", more)
    with pytest.raises(KeyUnavailable, match="not what was asked for"):
        issue(issuer)
