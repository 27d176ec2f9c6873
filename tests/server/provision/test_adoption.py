"""What is refused before anything is written: wrong signers, missing keys, broken files."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authsvc.claims import AccountClaims, UserScope, encode
from authsvc.errors import InvalidInput
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.provision.adopted import newest
from authsvc.server.provision.adoption import Adoption, check
from authsvc.server.provision.nsc_store import find_in_files, read_files, read_store
from tests.fixtures.nsc import Nsc


def checked(nsc: Nsc, **changed: Any) -> Adoption:
    read = read_store(nsc.store, nsc.keys)
    values: dict[str, Any] = {
        "operator_jwt": read.operator_jwt,
        "account_jwts": read.account_jwts,
        "find": read.find,
        "now": int(time.time()),
        **changed,
    }
    return check(values.pop("operator_jwt"), values.pop("account_jwts"), **values)


def test_what_nsc_made() -> None:
    nsc = Nsc.of_nsc()
    found = checked(nsc)
    assert found.operator_jwt == nsc.operator_jwt
    assert found.identity is not None
    assert found.signing is not None
    assert found.identity.public.text == nsc.operator.subject
    assert [found.signing.public.text] == nsc.operator.signing_keys
    # A signing key goes before the identity key, which is there too.
    assert found.system_signer.public.text in nsc.account("SYS").signing_keys
    assert {taken.jwt for taken in (found.system, *found.accounts)} == set(nsc.jwts.values())
    assert not any(seed.read_text().strip() in repr(found) for seed in nsc.keys.rglob("*.nk"))


def test_single_files() -> None:
    nsc = Nsc.of_nsc()
    signing, system = nsc.operator.signing_keys[0], next(iter(nsc.account("SYS").signing_keys))
    paths = {path.stem: path for path in nsc.keys.rglob("*.nk")}
    read = read_files(
        nsc.store / "acme.jwt",
        sorted(nsc.store.rglob("accounts/*/*.jwt")),
        [paths[signing], paths[system]],
    )
    found = check(read.operator_jwt, read.account_jwts, read.find, now=int(time.time()))
    assert found.identity is None
    assert found.signing is not None
    assert found.signing.public.text == signing
    assert found.system_signer.public.text == system
    assert len(found.accounts) == 2


def test_the_newest_signing_key_that_is_there_is_taken(tmp_path: Path) -> None:
    nsc = Nsc.write(tmp_path, signing_keys=3, strict=True)
    assert (found := checked(nsc).signing) is not None
    assert found.public.text == nsc.operator.signing_keys[-1]
    kept = nsc.key(nsc.operator.signing_keys[0])
    keys = {kept.public.text: kept} | {
        (key := nsc.key(name)).public.text: key for name in nsc.account("SYS").signing_keys
    }
    assert checked(nsc, find=keys.get).signing is kept
    assert checked(nsc, find=keys.get).identity is None


def test_without_a_signing_key_the_identity_key_is_needed(tmp_path: Path) -> None:
    nsc = Nsc.write(tmp_path)
    assert checked(nsc).signing is None
    bare = Nsc.write(tmp_path / "bare", signing_keys=1, keep=())
    with pytest.raises(InvalidInput, match="neither the operator's identity key") as raised:
        checked(bare)
    assert bare.operator.signing_keys[0] in str(raised.value)


def test_the_system_account_needs_a_key_without_scope(tmp_path: Path) -> None:
    nsc = Nsc.write(tmp_path)
    system = nsc.account("SYS")
    (signing,) = system.signing_keys
    scoped = replace(system, signing_keys={signing: UserScope(key=signing, role="r")})
    jwts = [encode(scoped, nsc.signer), nsc.jwt("orders")]
    with pytest.raises(InvalidInput, match="no key of the system account") as raised:
        checked(nsc, account_jwts=jwts)
    assert system.subject in str(raised.value)
    identity = Nsc.write(tmp_path / "identity", system_signing=False)
    found = checked(identity)
    assert found.system_signer.public.text == identity.operator.system_account


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("by itself", "is signed by"),
        ("by another operator", "is signed by"),
        ("by the identity key", "signed by the operator's identity key"),
        ("expired", "expired"),
        ("twice", "is there twice"),
        ("no JWT", "does not hold"),
        ("without the system account", "of the system account"),
    ],
)
def test_accounts_that_are_refused(tmp_path: Path, what: str, said: str) -> None:
    nsc = Nsc.write(tmp_path, signing_keys=1, strict=True)
    orders, jwts = nsc.account("orders"), [nsc.jwt("SYS"), nsc.jwt("orders")]
    if what == "by itself":
        jwts[1] = encode(orders, nsc.key(orders.subject))
    elif what == "by another operator":
        jwts[1] = encode(orders, KeyPair.generate(Prefix.OPERATOR))
    elif what == "by the identity key":
        jwts[1] = encode(orders, nsc.key(nsc.operator.subject))
    elif what == "expired":
        jwts[1] = encode(replace(orders, expires=int(time.time()) - 5), nsc.signer)
    elif what == "twice":
        jwts.append(jwts[1])
    elif what == "no JWT":
        jwts[1] = jwts[1][:-3] + "abc"
    else:
        del jwts[0]
    with pytest.raises(InvalidInput, match=said):
        checked(nsc, account_jwts=jwts)


def test_the_identity_key_signs_accounts_unless_the_operator_forbids_it(tmp_path: Path) -> None:
    nsc = Nsc.write(tmp_path, signing_keys=1)
    orders = encode(nsc.account("orders"), nsc.key(nsc.operator.subject))
    assert checked(nsc, account_jwts=[nsc.jwt("SYS"), orders]).accounts[0].jwt == orders


def test_operators_that_are_refused(tmp_path: Path) -> None:
    nsc = Nsc.write(tmp_path, signing_keys=1)
    by_another = encode(nsc.operator, nsc.signer)
    with pytest.raises(InvalidInput, match="not signed by the operator's identity key"):
        checked(nsc, operator_jwt=by_another)
    expired = encode(replace(nsc.operator, expires=1), nsc.key(nsc.operator.subject))
    with pytest.raises(InvalidInput, match="operator JWT does not hold"):
        checked(nsc, operator_jwt=expired)
    with pytest.raises(InvalidInput, match="operator JWT does not hold"):
        checked(nsc, operator_jwt=nsc.jwt("orders"))
    nameless = encode(replace(nsc.operator, system_account=""), nsc.key(nsc.operator.subject))
    with pytest.raises(InvalidInput, match="names no system account"):
        checked(nsc, operator_jwt=nameless)


def test_files_that_are_refused(tmp_path: Path) -> None:
    nsc = Nsc.write(tmp_path, signing_keys=1)
    with pytest.raises(InvalidInput, match="no operator's folder"):
        read_store(tmp_path, nsc.keys)
    with pytest.raises(InvalidInput, match="can't be read"):
        read_files(tmp_path / "nothing.jwt", [], [])
    with pytest.raises(InvalidInput, match="holds no private key") as raised:
        find_in_files([nsc.store / "acme.jwt"])
    assert nsc.operator_jwt not in str(raised.value)
    seed = nsc.signer.seed
    (tmp_path / "cut.nk").write_text(seed[:-1])
    with pytest.raises(InvalidInput, match="holds no private key") as raised:
        find_in_files([tmp_path / "cut.nk"])
    assert seed[:-1] not in str(raised.value)
    (tmp_path / "bytes.jwt").write_bytes(b"\xff\x00")
    with pytest.raises(InvalidInput, match="neither a JWT nor a key"):
        read_files(tmp_path / "bytes.jwt", [], [])
    (tmp_path / "large.jwt").write_bytes(b"a" * (2 << 20))
    with pytest.raises(InvalidInput, match="larger than any JWT"):
        read_files(tmp_path / "large.jwt", [], [])
    # A key under another's name.
    name = nsc.signer.public.text
    path = nsc.keys / "keys" / name[0] / name[1:3] / f"{name}.nk"
    path.write_text(KeyPair.generate(Prefix.OPERATOR).seed)
    with pytest.raises(InvalidInput, match="another key than its name says"):
        checked(nsc)


def test_a_jwt_between_lines_is_read(tmp_path: Path) -> None:
    nsc = Nsc.of_nsc()
    decorated = f"-----BEGIN NATS OPERATOR JWT-----\n{nsc.operator_jwt}\n------END------\n\n"
    (tmp_path / "operator.jwt").write_text(decorated)
    assert read_files(tmp_path / "operator.jwt", [], []).operator_jwt == nsc.operator_jwt


TRUSTED = [KeyPair.generate(Prefix.OPERATOR) for _ in range(2)]
STRANGER = KeyPair.generate(Prefix.OPERATOR)
ACCOUNTS = [KeyPair.generate(Prefix.ACCOUNT).public.text for _ in range(2)]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(ACCOUNTS),
            st.sampled_from([*TRUSTED, STRANGER]),
            st.integers(min_value=1, max_value=60),
        ),
        max_size=6,
    ),
    st.integers(min_value=0, max_value=40),
)
def test_what_is_followed_is_newer_and_signed_by_the_operator(
    made: list[tuple[str, KeyPair, int]], known: int
) -> None:
    jwts = [
        encode(AccountClaims(subject=account, name="a", issued_at=at), signer)
        for account, signer, at in made
    ]
    best = newest(ACCOUNTS[0], known, jwts, {key.public.text for key in TRUSTED})
    good = [
        at
        for account, signer, at in made
        if account == ACCOUNTS[0] and signer is not STRANGER and at > known
    ]
    assert (best.claims.issued_at if best else 0) == max(good, default=0)
    assert best is None or (best.jwt in jwts and best.claims.issuer != STRANGER.public.text)


def test_only_the_operators_newer_jwts_are_followed(tmp_path: Path) -> None:
    nsc = Nsc.write(tmp_path, signing_keys=1)
    orders, signers = nsc.account("orders"), {nsc.signer.public.text}

    def at(after: int, signer: KeyPair, **values: Any) -> str:
        return encode(replace(orders, issued_at=orders.issued_at + after, **values), signer)

    stranger = KeyPair.generate(Prefix.OPERATOR)
    found = ["", "nonsense", nsc.jwt("SYS"), at(-1, nsc.signer), at(9, stranger)]
    assert newest(orders.subject, orders.issued_at, [*found, nsc.jwt("orders")], signers) is None
    assert newest(orders.subject, orders.issued_at, [at(1 << 53, nsc.signer)], signers) is None
    first, last = at(1, nsc.signer), at(2, nsc.signer)
    for order in ([first, last], [last, first]):
        best = newest(orders.subject, orders.issued_at, [*found, *order], signers)
        assert best is not None
        assert best.jwt == last
