"""What looks for secrets in all that the suite leaves would find them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from authsvc.nkey import KeyPair, Prefix
from authsvc.server import api_keys
from authsvc.server.backup import bech32
from authsvc.xkey import CurveKey
from tests.fixtures.leaks import note_started, said, secrets_in, written


def _secrets() -> list[str]:
    text, _ = api_keys.make("x", ["admin"], 0)
    return [
        *(KeyPair.generate(prefix).seed for prefix in Prefix),
        CurveKey.generate().seed,
        text,
        bech32.encode("age-secret-key-", bytes(32)).upper(),
    ]


@pytest.mark.parametrize("secret", _secrets(), ids=lambda it: it[:3])
def test_each_kind_is_found(secret: str, tmp_path: Path) -> None:
    assert secrets_in(f"level=info key={secret} more") == [f"{secret[:12]}..."]
    log = tmp_path / "a.log"
    log.write_text(f"x {secret}\n")
    assert len(list(written(tmp_path))) == 1
    log.unlink()  # the look at the end is for others
    before = list(said)
    subprocess.run(["true", "--key", secret], check=True)
    note_started(f"true {secret}")
    assert len(said) == len(before) + 2
    said[:] = before


def test_public_things_are_none() -> None:
    pair = KeyPair.generate(Prefix.USER)
    wrong = pair.seed[:-1] + ("A" if pair.seed[-1] != "A" else "B")
    for text in (
        pair.public.text,
        wrong,
        "SUAB",
        "authsvc_metric_name_total",
        "key_06h2826qv54bvov",
    ):
        assert secrets_in(text) == []
