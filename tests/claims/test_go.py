"""Random claims each way between this codec and github.com/nats-io/jwt/v2, the reference."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from authsvc import jose
from authsvc.claims import (
    AccountClaims,
    Claims,
    OperatorClaims,
    UserClaims,
    decode,
    encode,
    format_creds,
    parse_creds,
    validate,
)
from authsvc.nkey import KeyPair, Prefix
from tests.claims.random_claims import RandomClaims

COUNT = 1000
KINDS: dict[str, type[Claims]] = {
    "user": UserClaims,
    "account": AccountClaims,
    "operator": OperatorClaims,
}
SOURCE = Path(__file__).parent.parent / "go"

pytestmark = pytest.mark.skipif(shutil.which("go") is None, reason="Go is not installed")


class Go:
    """The program of tests/go, built; asked many questions at once."""

    def __init__(self, program: Path) -> None:
        self.program = program

    def ask(self, questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
        lines = "".join(json.dumps(question) + "\n" for question in questions)
        done = subprocess.run(
            [self.program], input=lines, capture_output=True, text=True, check=True, timeout=60
        )
        answers: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.split("\n")[:-1]]
        assert len(answers) == len(questions)
        return answers


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Go:
    program = tmp_path_factory.mktemp("go") / "claims"
    command = ["go", "build", "-buildvcs=false", "-o", str(program), "."]
    subprocess.run(command, cwd=SOURCE, check=True, timeout=110)
    return Go(program)


@pytest.fixture
def made() -> list[tuple[str, dict[str, Any], KeyPair]]:
    seed = os.environ.get("CLAIMS_SEED") or str(random.SystemRandom().getrandbits(64))
    print(f"CLAIMS_SEED={seed} makes these claims again")  # noqa: T201 - shown when a test fails
    source = RandomClaims(random.Random(seed))  # noqa: S311 - must be repeatable
    kinds = [list(KINDS)[place % len(KINDS)] for place in range(COUNT)]
    return [(kind, *source.payload(kind)) for kind in kinds]


def read(kind: str, payload: dict[str, Any]) -> Claims:
    return KINDS[kind].read(payload, payload["nats"])


def opened(token: str) -> bytes:
    """The JSON inside, which shows more than base64 when two differ."""
    return jose.b64decode(token.split(".")[1])


def as_go_sorts(payload: dict[str, Any]) -> dict[str, Any]:
    """A payload with the lists sorted that Go sorts when it encodes."""
    nats = dict(payload["nats"])
    if nats["type"] != "account":
        return payload
    for name in ("imports", "exports"):
        if name in nats:
            nats[name] = sorted(nats[name], key=lambda entry: entry.get("subject", ""))
    if "signing_keys" in nats:
        key = lambda entry: entry if isinstance(entry, str) else entry["key"]  # noqa: E731
        nats["signing_keys"] = sorted(nats["signing_keys"], key=key)
    return {**payload, "nats": nats}


def test_go_reads_what_we_write(go: Go, made: list[tuple[str, dict[str, Any], KeyPair]]) -> None:
    tokens = [encode(read(kind, payload), key) for kind, payload, key in made]
    questions = [
        {"op": "recode", "token": token, "seed": key.seed}
        for token, (_, _, key) in zip(tokens, made, strict=True)
    ]
    blocked = 0
    for (kind, payload, key), token, answer in zip(made, tokens, go.ask(questions), strict=True):
        assert "error" not in answer, (answer["error"], payload)
        assert opened(answer["token"]) == opened(token)
        assert answer["token"] == token
        wanted = as_go_sorts(payload) | {"iss": key.public.text}
        seen = answer["claims"]
        seen.pop("jti")
        assert seen == wanted
        # Whatever Go finds wrong, we find wrong.
        claims = read(kind, payload)
        claims.expires = claims.not_before = 0
        blocking = any(issue.blocking for issue in validate(claims, 0))
        assert blocking >= answer["blocking"], (answer["issues"], payload)
        blocked += answer["blocking"]
    assert 0 < blocked < COUNT


def test_we_read_what_go_writes(go: Go, made: list[tuple[str, dict[str, Any], KeyPair]]) -> None:
    questions = [
        {"op": "encode", "kind": kind, "claims": payload, "seed": key.seed}
        for kind, payload, key in made
    ]
    for (kind, payload, key), answer in zip(made, go.ask(questions), strict=True):
        assert "error" not in answer, (answer["error"], payload)
        claims = decode(answer["token"])
        wanted = read(kind, as_go_sorts(payload))
        assert (claims.issuer, len(claims.id)) == (key.public.text, 52)
        wanted.issuer, wanted.id = claims.issuer, claims.id
        assert claims == wanted
        assert encode(claims, key) == answer["token"]


def test_go_reads_our_creds_and_we_read_theirs(go: Go) -> None:
    account, user = KeyPair.generate(Prefix.ACCOUNT), KeyPair.generate(Prefix.USER)
    token = encode(UserClaims(subject=user.public.text, name="alice", issued_at=1), account)
    ours = format_creds(token, user)
    theirs, read_back = go.ask(
        [
            {"op": "creds", "token": token, "seed": user.seed},
            {"op": "read_creds", "text": ours},
        ]
    )
    assert theirs["text"] == ours
    assert (read_back["token"], read_back["seed"]) == (token, user.seed)
    assert parse_creds(theirs["text"]).key.seed == user.seed


def test_go_refuses_what_is_broken(go: Go) -> None:
    """The comparison above is worth something: the other side does say no."""
    account, user = KeyPair.generate(Prefix.ACCOUNT), KeyPair.generate(Prefix.USER)
    token = encode(UserClaims(subject=user.public.text, issued_at=1), account)
    head, payload, signature = token.split(".")
    forged = jose.b64encode(jose.b64decode(payload).replace(b'"iat":1', b'"iat":2'))
    questions: list[dict[str, Any]] = [
        {"op": "recode", "token": f"{head}.{forged}.{signature}", "seed": account.seed},
        {"op": "encode", "kind": "user", "claims": {"sub": account.public.text},
         "seed": account.seed},
        {"op": "encode", "kind": "user", "claims": {"sub": user.public.text, "new": 1},
         "seed": account.seed},
    ]  # fmt: skip
    assert all(answer["error"] for answer in go.ask(questions))
