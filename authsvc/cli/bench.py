"""How fast user JWTs are minted, beside the least that any Python could do.

The rival is a bare loop over PyNaCl and orjson: it builds the same members as a dict, hashes
the ``jti``, writes JSON twice, signs and joins. It checks nothing and escapes nothing. Both run
in turns in one process, timed by the process's own CPU time, so that a busy machine slows both.
"""

from __future__ import annotations

import base64
import gc
import hashlib
import time
from collections.abc import Callable
from typing import Any

import orjson
from nacl.signing import SigningKey

from authsvc.claims import Permission, Permissions, UserClaims, encode
from authsvc.nkey import KeyPair, Prefix

__all__ = ["mint"]

_BATCH = 200
_LIFE = 3600
_TAG = "credential:crd_01k9n8q6w0c5v7h2m4r3t1x8yz"
_NAME = "alice%2Esmith+x@example%2Ecom"
_PUBLISH = (
    f"requests.{_NAME}.>",
    f"responses.*.{_NAME}.>",
    f"$JS.mail.API.CONSUMER.MSG.NEXT.requests_{_NAME}.*",
    f"$JS.ACK.requests_{_NAME}.>",
    f"$JS.ACK._.*.requests_{_NAME}.>",
    f"$JS.mail.API.STREAM.MSG.GET.responses_{_NAME}",
    "$SYS.REQ.USER.INFO",
)
_SUBSCRIBE = (f"responses.{_NAME}.>", f"requests.*.{_NAME}.>", f"_INBOX.{_NAME}.>")


def mint(seconds: float) -> dict[str, float]:
    """Mint for about so long and report how it went.

    Args:
        seconds: CPU time to spend, both sides together.

    Returns:
        ``mint_per_cpu_s`` and ``bare_per_cpu_s`` (JWTs per second of CPU time), ``ratio`` (the
        median over the rounds of ours by the bare loop's) and ``rounds``.
    """
    account, user = KeyPair.generate(Prefix.ACCOUNT), KeyPair.generate(Prefix.USER).public.text
    ours, bare = _ours(account, user), _bare(account.public.text, user)
    for warm_up in (ours, bare):
        _timed(warm_up)
    spent = [0.0, 0.0]
    ratios: list[float] = []
    while sum(spent) < seconds or not ratios:
        # Whoever goes second may find a warmer cache: take turns.
        pair = (ours, bare) if len(ratios) % 2 else (bare, ours)
        took = {side: _timed(side) for side in pair}
        spent[0] += took[ours]
        spent[1] += took[bare]
        ratios.append(took[bare] / took[ours])
    count = len(ratios) * _BATCH
    return {
        "mint_per_cpu_s": round(count / spent[0], 1),
        "bare_per_cpu_s": round(count / spent[1], 1),
        "ratio": round(sorted(ratios)[len(ratios) // 2], 4),
        "rounds": len(ratios),
    }


def _timed(work: Callable[[], object]) -> float:
    gc.collect()
    begin = time.process_time()
    for _ in range(_BATCH):
        work()
    return time.process_time() - begin


def _ours(key: KeyPair, user: str) -> Callable[[], str]:
    account = KeyPair.generate(Prefix.ACCOUNT).public.text
    now = int(time.time())

    def work() -> str:
        claims = UserClaims(
            subject=user,
            name=_NAME,
            issuer_account=account,
            permissions=Permissions(
                publish=Permission(allow=_PUBLISH), subscribe=Permission(allow=_SUBSCRIBE)
            ),
            subs=1000,
            payload=8_388_608,
            tags=(_TAG,),
            issued_at=now,
            expires=now + _LIFE,
        )
        return encode(claims, key)

    return work


def _bare(issuer: str, user: str) -> Callable[[], str]:
    key = SigningKey.generate()
    account = KeyPair.generate(Prefix.ACCOUNT).public.text
    now = int(time.time())
    header = _text(orjson.dumps({"typ": "JWT", "alg": "ed25519-nkey"}))

    def work() -> str:
        claims: dict[str, Any] = {
            "exp": now + _LIFE,
            "iat": now,
            "iss": issuer,
            "name": _NAME,
            "sub": user,
        }
        digest = hashlib.new("sha512_256", orjson.dumps(claims)).digest()
        claims["jti"] = base64.b32encode(digest).rstrip(b"=").decode()
        claims["nats"] = {
            "pub": {"allow": _PUBLISH},
            "sub": {"allow": _SUBSCRIBE},
            "subs": 1000,
            "data": -1,
            "payload": 8_388_608,
            "issuer_account": account,
            "tags": [_TAG],
            "type": "user",
            "version": 2,
        }
        signed = header + "." + _text(orjson.dumps(claims))
        return signed + "." + _text(key.sign(signed.encode()).signature)

    return work


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
