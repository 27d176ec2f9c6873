"""The benchmark of minting compares like with like. How fast it is, is for the benchmark to say."""

from __future__ import annotations

from authsvc import jose
from authsvc.claims import MAX_USER_JWT_BYTES, decode_user, validate
from authsvc.cli import bench
from authsvc.nkey import KeyPair, Prefix

USER = KeyPair.generate(Prefix.USER).public.text


def test_both_loops_make_the_same_claims() -> None:
    key = KeyPair.generate(Prefix.ACCOUNT)
    ours = bench._ours(key, USER)()
    # The rival signs with a key of its own and names ours: only its signature can't hold.
    bare = bench._bare(key.public.text, USER)()
    one, two = jose.split(ours).payload, jose.split(bare).payload
    for payload in (one, two):
        assert len(payload.pop("jti")) == 52
        assert payload["nats"].pop("issuer_account")[0] == "A"
        assert payload["exp"] - payload.pop("iat") == 3600
        payload.pop("exp")
    assert one == two
    assert len(jose.split(bare).signature) == 64
    claims = decode_user(ours)
    assert validate(claims, claims.issued_at) == []
    assert (len(claims.permissions.publish.allow), len(claims.permissions.subscribe.allow)) == (
        7,
        3,
    )
    assert len(ours) < MAX_USER_JWT_BYTES


def test_mint_reports_both_sides() -> None:
    report = bench.mint(0.2)
    assert set(report) == {"mint_per_cpu_s", "bare_per_cpu_s", "ratio", "rounds"}
    assert report["rounds"] >= 1
    assert report["mint_per_cpu_s"] > 100
    # Far below what it is, for a machine that is busy or a run that is traced.
    assert 0.1 < report["ratio"] < 10
