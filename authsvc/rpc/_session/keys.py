"""The user's nkey: given, or kept in a file of its own; and what it signs for nats-server."""

from __future__ import annotations

import base64
import logging
import os
import re
import secrets
from pathlib import Path

from authsvc.errors import InvalidInput
from authsvc.nkey import KeyPair, Prefix

__all__ = ["KeyTypes", "load_key", "signature"]

KeyTypes = KeyPair | str | os.PathLike[str] | None

_log = logging.getLogger(__name__)
# No file is called so: a seed that is mistyped is an error, and must not name a file.
_SEED = re.compile(r"S[A-Z2-7]{20,}")
_NONCE = re.compile(r"[A-Za-z0-9_-]{1,64}")


def load_key(key: KeyTypes) -> KeyPair:
    """The user's nkey.

    Args:
        key: A KeyPair, a seed, or a file, which is made (0600) when absent; a str that begins
            as a seed does and holds nothing but a seed's characters is one. None makes a key
            that lives as long as the process.

    Raises:
        InvalidKey: What was given is no user seed.
        InvalidInput: The file can't be read or made, or others can read it.
    """
    if key is None:
        return KeyPair.generate(Prefix.USER)
    if isinstance(key, KeyPair):
        return key
    if isinstance(key, str):
        key = key.strip()
        if _SEED.fullmatch(key):
            return KeyPair.from_seed(key, Prefix.USER)
    path = Path(key)
    try:
        return _read_key(path)
    except FileNotFoundError:
        return _make_key(path)


def signature(key: KeyPair, nonce: str) -> bytes:
    """The answer to a server's nonce; empty, so refused, if it is none that a server makes.

    Whoever runs a server could otherwise have anything signed, a proof of possession included.
    """
    if not _NONCE.fullmatch(nonce):
        _log.error("a NATS server sent a nonce that is none; nothing was signed for it")
        return b""
    return base64.b64encode(key.sign(nonce.encode("ascii")))


def _read_key(path: Path) -> KeyPair:
    try:
        if path.stat().st_mode & 0o077 and os.name == "posix":
            raise InvalidInput(f"others can read the nkey file {path}; run chmod 600 on it")
        text = path.read_text("ascii")
    except FileNotFoundError:
        raise
    except (OSError, UnicodeError) as error:
        raise InvalidInput(f"the nkey file {path} can't be read: {error}") from error
    return KeyPair.from_seed(text.strip(), Prefix.USER)


def _make_key(path: Path) -> KeyPair:
    pair = KeyPair.generate(Prefix.USER)
    # Written whole under another name first: two processes that start at once see a key or
    # none, never half of one.
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(pair.seed + "\n")
        try:
            os.link(draft, path)
        except FileExistsError:
            return _read_key(path)  # another was quicker
        finally:
            draft.unlink()
    except OSError as error:
        raise InvalidInput(f"the nkey file {path} can't be made: {error}") from error
    return pair
