"""Access tokens in the SyftBox server's format, good ones and bad ones."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import jwt

from authsvc import jose

NOW = 1_800_000_000
SECRET = "the secret of a SyftBox server"
ISSUER = "https://syftbox.example"


def claims(**changes: Any) -> dict[str, Any]:
    """What a SyftBox server writes; a change to None takes the claim away."""
    good = {
        "type": "access",
        "iss": ISSUER,
        "sub": "alice@example.com",
        "exp": NOW + 3600,
        "iat": NOW,
        "jti": "0f8fad5b-d9cb-469f-a165-70867728950e",
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def token(**changes: Any) -> str:
    """An access token, made by a library of others."""
    return jwt.encode(claims(**changes), SECRET.ljust(32), "HS256")


def raw(header: bytes, payload: bytes, digest: str = "sha256") -> str:
    """A token of exactly these bytes, its signature right."""
    text = f"{jose.b64encode(header)}.{jose.b64encode(payload)}"
    signature = hmac.digest(SECRET.ljust(32).encode(), text.encode(), getattr(hashlib, digest))
    return f"{text}.{jose.b64encode(signature)}"


GOOD_HEADER = b'{"alg":"HS256","typ":"JWT"}'


def _payloads() -> dict[str, str]:
    bad: dict[str, dict[str, Any]] = {
        "refresh token": {"type": "refresh"},
        "no type": {"type": None},
        "no exp": {"exp": None},
        "expired": {"exp": NOW - 1},
        "expires now": {"exp": NOW},
        "exp a fraction": {"exp": NOW + 0.5},
        "exp a text": {"exp": str(NOW + 60)},
        "exp true": {"exp": True},
        "exp huge": {"exp": 10**30},
        "exp negative": {"exp": -5},
        "not valid yet": {"nbf": NOW + 1},
        "nbf a text": {"nbf": "now"},
        "iat in the future": {"iat": NOW + 61},
        "iat a text": {"iat": "now"},
        "another issuer": {"iss": "https://evil.example"},
        "no issuer": {"iss": None},
        "issuer a list": {"iss": [ISSUER]},
        "no sub": {"sub": None},
        "sub a list": {"sub": ["alice@example.com"]},
        "sub an object": {"sub": {}},
        "sub a number": {"sub": 1},
    }
    return {
        name: raw(GOOD_HEADER, jose.dumps(claims(**changes)))
        if name != "exp huge"
        else raw(GOOD_HEADER, jose.dumps(claims(exp=7)).replace(b":7,", b":1" + b"0" * 30 + b","))
        for name, changes in bad.items()
    }


def _forms() -> dict[str, str]:
    good = jose.dumps(claims())
    head, body, signature = raw(GOOD_HEADER, good).split(".")
    null = f'"exp":null,"exp":{NOW + 60}'.encode()
    return {
        "empty": "",
        "dots": "..",
        "two parts": f"{head}.{body}",
        "four parts": f"{head}.{body}.{signature}.{signature}",
        "no signature": f"{head}.{body}.",
        "another signature": f"{head}.{body}.{'A' * 43}",
        "half a signature": f"{head}.{body}.{signature[:24]}",
        "padding": f"{head}.{body}.{signature}=",
        "white space": f" {head}.{body}.{signature}",
        "line end": f"{head}.{body}.{signature}\n",
        "not ASCII": f"{head}.{body}ä.{signature}",
        "left-over bits": f"{head}.{body}.{signature[:-1]}{chr(ord(signature[-1]) + 1)}",
        "too long": raw(GOOD_HEADER, good[:-1] + b',"x":"' + b"x" * 5000 + b'"}'),
        "far too long": "a" * 1_000_000,
        "alg none": raw(b'{"alg":"none","typ":"JWT"}', good),
        "alg none, unsigned": raw(b'{"alg":"none"}', good).rpartition(".")[0] + ".",
        "alg in capitals": raw(b'{"alg":"hs256","typ":"JWT"}', good),
        "HS384": raw(b'{"alg":"HS384","typ":"JWT"}', good, "sha384"),
        "HS512": raw(b'{"alg":"HS512","typ":"JWT"}', good, "sha512"),
        "RS256": raw(b'{"alg":"RS256","typ":"JWT"}', good),
        "no alg": raw(b'{"typ":"JWT"}', good),
        "alg twice": raw(b'{"alg":"none","alg":"HS256"}', good),
        "crit": raw(b'{"alg":"HS256","crit":["exp"]}', good),
        "b64": raw(b'{"alg":"HS256","b64":false}', good),
        "another typ": raw(b'{"alg":"HS256","typ":"dpop+jwt"}', good),
        "header a list": raw(b'["HS256"]', good),
        "payload a list": raw(GOOD_HEADER, b"[]"),
        "payload no JSON": raw(GOOD_HEADER, b"{"),
        "payload empty": raw(GOOD_HEADER, b""),
        "exp twice": raw(GOOD_HEADER, good[:-1] + b"," + null + b"}"),
        "sub twice": raw(GOOD_HEADER, good[:-1] + b',"sub":"bob@example.com"}'),
        "sub with a lone surrogate": raw(
            GOOD_HEADER,
            good.replace(b"alice", b"\\ud800"),
        ),
        "UTF-16": raw(GOOD_HEADER, good.decode().encode("utf-16")),
        "UTF-8 that is none": raw(GOOD_HEADER, good.replace(b"alice", b"\xff")),
        "byte order mark": raw(GOOD_HEADER, b"\xef\xbb\xbf" + good),
        "deep nesting": raw(GOOD_HEADER, good[:-1] + b',"x":' + b"[" * 1400 + b"]" * 1400 + b"}"),
        "a long integer": raw(GOOD_HEADER, good[:-1] + b',"x":' + b"1" * 2500 + b"}"),
        "exp a long integer": raw(GOOD_HEADER, b'{"type":"access","exp":' + b"9" * 2500 + b"}"),
        "exp NaN": raw(GOOD_HEADER, b'{"type":"access","sub":"a@b","exp":NaN}'),
        "exp 1e400": raw(GOOD_HEADER, b'{"type":"access","sub":"a@b","exp":1e400}'),
    }


BAD = {**_payloads(), **_forms()}

HOSTILE_NAMES = [
    "alice @example.com",
    "alice\t@example.com",
    "alice\u202e@example.com",
    "\u212a@example.com",
    "T\u0308@example.com",
    "a" * 255 + "@example.com",
    "." * 60 + "@example.com",
]

REFUSED_NAMES = ["", "   ", "no-at-sign", *HOSTILE_NAMES]
