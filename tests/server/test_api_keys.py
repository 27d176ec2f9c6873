"""API keys."""

from __future__ import annotations

from authsvc.server import api_keys


def test_only_the_digest_is_kept() -> None:
    text, row = api_keys.make("ci", ["admin"], 1)
    assert text.startswith("authsvc_")
    assert row.digest == api_keys.digest(text)
    assert text.startswith(row.prefix)
    assert len(text) - len(row.prefix) >= 32
    assert text not in repr(row)
    assert row.digest not in repr(row)


def test_keys_differ() -> None:
    assert len({api_keys.make("x", [], 1)[0] for _ in range(100)}) == 100
