"""``.creds`` text: a user JWT and the seed of its nkey, as nats clients read it.

Source: https://github.com/nats-io/jwt (creds_utils.go).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from authsvc.claims.codec import decode_user
from authsvc.errors import InvalidClaims, InvalidKey
from authsvc.nkey import KeyPair, Prefix

__all__ = ["Creds", "format_creds", "parse_creds"]

_BLOCK = re.compile(
    r"(?<!-)-{3,}BEGIN ([A-Z ]+)-{3,}\r?\n\s*([\w\-.=]+)\s*\r?\n-{3,}END ([A-Z ]+)-{3,}", re.ASCII
)
_MAX_CHARS = 1 << 20
_TEXT = """\
-----BEGIN NATS USER JWT-----
{jwt}
------END NATS USER JWT------

************************* IMPORTANT *************************
NKEY Seed printed below can be used to sign and prove identity.
NKEYs are sensitive and should be treated as secrets.

-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------

*************************************************************
"""


@dataclass(frozen=True, slots=True)
class Creds:
    """A user JWT and the key it belongs to."""

    jwt: str = field(repr=False)
    key: KeyPair


def format_creds(jwt: str, key: KeyPair) -> str:
    """The text of a ``.creds`` file. It holds the seed: keep it where secrets are kept.

    Args:
        jwt: A user JWT.
        key: The user's nkey.

    Raises:
        InvalidClaims: The JWT does not hold, or belongs to another key.
    """
    _check(jwt, key)
    return _TEXT.format(jwt=jwt, seed=key.seed)


def parse_creds(text: str) -> Creds:
    """Read the text of a ``.creds`` file.

    Raises:
        InvalidClaims: A block is missing or broken, or the JWT belongs to another key.
    """
    if len(text) > _MAX_CHARS:
        raise InvalidClaims("not .creds text: longer than 1 MiB")
    blocks: dict[str, str] = {}
    for begin, content, end in _BLOCK.findall(text):
        if begin != end or begin in blocks:
            raise InvalidClaims("not .creds text: its blocks are mixed up")
        blocks[begin] = content
    jwt, seed = blocks.get("NATS USER JWT"), blocks.get("USER NKEY SEED")
    if jwt is None or seed is None:
        raise InvalidClaims("not .creds text: a user JWT and a user seed are needed")
    try:
        key = KeyPair.from_seed(seed, Prefix.USER)
    except InvalidKey as error:
        raise InvalidClaims(f"the seed in the .creds text is {error}") from None
    _check(jwt, key)
    return Creds(jwt, key)


def _check(jwt: str, key: KeyPair) -> None:
    if decode_user(jwt).subject != key.public.text:
        raise InvalidClaims("the user JWT belongs to another nkey than the seed")
