"""Every decoder, on random bytes and on good input with a few bytes changed.

Each returns or raises one of our own errors; anything else fails. ``AUTHSVC_FUZZ_EXAMPLES`` raises
the number of examples of each, for a long run by hand.
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authsvc import dpop, jose, nkey, subjects, xkey
from authsvc.claims import UserClaims, decode, encode, format_creds, parse_creds
from authsvc.errors import AuthsvcError
from authsvc.nkey import KeyPair, Prefix
from authsvc.rpc._messages.trace import TraceContext
from authsvc.rpc._syftbox.url import SyftUrl
from authsvc.rpc._wire import chunks, frames
from authsvc.server.api.admin.imports import MAX_LINE_BYTES, _read
from authsvc.server.api.admin.ndjson import Line, Lines
from authsvc.server.backup import Identity
from authsvc.server.backup.lines import values_of
from authsvc.server.backup.manifest import read_ending, read_head
from authsvc.server.backup.reading import Reader
from authsvc.server.login.token import UnverifiedToken

EXAMPLES = int(os.environ.get("AUTHSVC_FUZZ_EXAMPLES", "60"))
NOW = 1_700_000_000
USER, ACCOUNT = KeyPair(Prefix.USER, bytes(range(32))), KeyPair(Prefix.ACCOUNT, bytes(32))
CURVE = xkey.CurveKey(bytes(range(32)))
JWT = encode(UserClaims(subject=USER.public.text, name="a", issued_at=NOW), ACCOUNT)
URL = "https://auth.example/v1/credentials"
ID = "0" * 31 + "1"
REQUEST = frames.RequestFrame(ID, 1, 2, "POST", "/a?b", (("x", "y"),), b"body")


def _text(decoder: Callable[[str], Any]) -> Callable[[bytes], Any]:
    return lambda data: decoder(data.decode("utf-8", "surrogateescape"))


def _proof(text: str) -> object:
    return dpop.verify(text, method="POST", urls=[URL], token=None, now=NOW)


def _lines(data: bytes) -> object:
    lines = Lines(MAX_LINE_BYTES)
    found = [*lines.feed(data[: len(data) // 2]), *lines.feed(data[len(data) // 2 :])]
    return [_read(Line(line.number, line.content)) for line in (*found, *lines.end())]


def _backup(data: bytes) -> None:
    reader = Reader(io.BytesIO(data), [Identity(bytes(range(32)))])
    for _ in reader.rows():
        pass
    for _ in reader.messages():
        pass
    reader.finish()


def _json(decoder: Callable[[Any], Any]) -> Callable[[bytes], Any]:
    return lambda data: decoder(values_of(data))


HEAD = {
    "format": "authsvc backup",
    "version": 1,
    "id": "x",
    "made_at": NOW,
    "authsvc": "0.1.0",
    "revision": "0001",
    "database": "sqlite",
    "operator": None,
    "master_keys": 1,
    "tables": {"users": {"columns": {"id": "text"}, "rows": 1}},
}
ENDING = {"sha256": "0" * 64, "digests": {"users": "0" * 64}}
DECODERS: dict[str, tuple[Callable[[bytes], Any], list[bytes]]] = {
    "base64url": (jose.b64decode, [b"AAAA", b"_-8"]),
    "JSON": (jose.loads, [b'{"a":[1,{"b":null}],"c":"\\u00e9"}']),
    "JWS": (_text(jose.split), [JWT.encode()]),
    "proof": (
        _text(_proof),
        [dpop.make(USER, "POST", URL, token=None, now=NOW, jti="x").encode()],
    ),
    "target": (_text(dpop.target), [URL.encode(), b"http://[::1]:80/a?b#c"]),
    "access token": (
        _text(lambda text: UnverifiedToken.parse(text, time.time())),
        [b"eyJhbGciOiJIUzI1NiJ9.eyJ0eXBlIjoiYWNjZXNzIiwic3ViIjoiYUB4IiwiZXhwIjo5OTk5OTk5OTk5fQ.AA"],
    ),
    "NATS JWT": (_text(decode), [JWT.encode()]),
    "creds": (_text(parse_creds), [format_creds(JWT, USER).encode()]),
    "public nkey": (_text(nkey.PublicKey.parse), [USER.public.text.encode()]),
    "seed": (_text(KeyPair.from_seed), [USER.seed.encode()]),
    "seed as bytes": (KeyPair.from_seed, [USER.seed.encode()]),
    "curve seed": (_text(xkey.CurveKey.from_seed), [CURVE.seed.encode()]),
    "sealed": (
        lambda data: CURVE.open(data, CURVE.public),
        [CURVE.seal(b"a question", CURVE.public)],
    ),
    "request": (
        frames.decode_request,
        [frames.encode_request(REQUEST)],
    ),
    "response": (
        frames.decode_response,
        [frames.response_bytes(ID, 200, (("x", "y"),), b"body")],
    ),
    "opening": (
        chunks.decode_open,
        [chunks.encode_open(chunks.OpenFrame(REQUEST, 70_000, more=True))],
    ),
    "part": (
        chunks.decode_part,
        [
            chunks.encode_chunk(chunks.ChunkFrame(ID, 5, last=True, content=b"x")),
            chunks.encode_head(chunks.HeadFrame(ID, ID, 200, (("x", "y"),), b"x")),
            chunks.encode_credit(chunks.CreditFrame(ID, ID, 9)),
            chunks.encode_cancel(chunks.CancelFrame(ID, 499)),
        ],
    ),
    "request's subject": (_text(subjects.Request.parse), [b"requests.a.b%2Ec.d.stored"]),
    "response's subject": (_text(subjects.Response.parse), [f"responses.a.b.c.{ID}".encode()]),
    "subject": (_text(subjects.validate), [b"a.*.>"]),
    "token": (_text(subjects.untoken), [b"a%2Eb@x"]),
    "username": (_text(subjects.username), ["Zoë@example.com".encode()]),
    "app": (_text(subjects.app_name), [b"chat"]),
    "trace": (
        _text(TraceContext.parse),
        [b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
    ),
    "syft URL": (_text(SyftUrl.parse), [b"syft://a@x.com/app_data/chat/rpc/ping"]),
    "import": (
        _lines,
        [b'\xef\xbb\xbf{"username":"a@x"}\n\n{"username":"b","kind":"service"}\r\n'],
    ),
    "backup": (_backup, [b"age-encryption.org/v1\n-> X25519 " + b"A" * 43 + b"\n" + b"B" * 43]),
    "backup's line": (values_of, [b'["a",1,null]']),
    "backup's head": (_json(read_head), [json.dumps({"head": HEAD}).encode()]),
    "backup's end": (_json(read_ending), [json.dumps({"end": ENDING}).encode()]),
}

_CHUNK = st.binary(max_size=12) | st.sampled_from(
    [
        b"\0",
        b"\xff" * 4,
        b"\r\n",
        b".",
        b"%",
        b'"',
        b"{",
        b"[" * 50,
        b"9" * 30,
        b"\xed\xa0\x80",
        b"1e999",
    ]
)


@st.composite
def mutated(draw: st.DrawFn, good: bytes) -> bytes:
    """Good input with up to four changes: bytes put in, taken out, repeated or replaced."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 8)))
        kind = draw(st.sampled_from(["put", "take", "repeat", "flip"]))
        if kind == "put":
            data[start:start] = draw(_CHUNK)
        elif kind == "take":
            del data[start:end]
        elif kind == "repeat":
            data[start:start] = data[start:end]
        elif start < len(data):
            data[start] ^= 1 << draw(st.integers(0, 7))
    return bytes(data)


@pytest.mark.parametrize("name", DECODERS)
def test_random_and_changed_bytes_raise_our_errors_alone(name: str) -> None:
    decoder, good = DECODERS[name]

    @settings(
        max_examples=EXAMPLES, database=None, derandomize="AUTHSVC_FUZZ_EXAMPLES" not in os.environ
    )
    @given(st.binary(max_size=200) | st.sampled_from(good).flatmap(mutated))
    def run(data: bytes) -> None:
        try:
            decoder(data)
        except AuthsvcError:
            return

    run()


@pytest.mark.parametrize("name", DECODERS)
def test_what_is_good_is_read(name: str) -> None:
    """Otherwise the changed bytes would be changed rubbish."""
    decoder, good = DECODERS[name]
    if name != "backup":  # whose whole files are read in tests/server/backup
        for data in good:
            decoder(data)
