"""The user's nkey: given, or kept in a file of its own; and what it signs for nats-server."""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import re
from pathlib import Path

from authsvc.errors import InvalidInput
from authsvc.nkey import KeyPair, Prefix

__all__ = ["KeyTypes", "load_key", "signature"]

KeyTypes = KeyPair | str | os.PathLike[str] | None

_log = logging.getLogger(__name__)
_SEED_CHARS = 58
_NONCE = re.compile(r"[A-Za-z0-9_-]{1,64}")


def load_key(key: KeyTypes) -> KeyPair:
    """The user's nkey.

    Args:
        key: A KeyPair, a seed, or a file, which is made (0600) when absent. None makes a key
            that lives as long as the process.

    Raises:
        InvalidKey: What was given is no user seed.
        InvalidInput: The file can't be read or made, or others can read it.
    """
    if key is None:
        return KeyPair.generate(Prefix.USER)
    if isinstance(key, KeyPair):
        return key
    if isinstance(key, str) and len(key) == _SEED_CHARS and key.startswith("S") and key.isalnum():
        return KeyPair.from_seed(key, Prefix.USER)
    path = Path(key)
    with contextlib.suppress(FileExistsError):
        return _make_key(path)
    try:
        if path.stat().st_mode & 0o077 and os.name == "posix":
            raise InvalidInput(f"others can read the nkey file {path}; run chmod 600 on it")
        return KeyPair.from_seed(path.read_text("ascii").strip(), Prefix.USER)
    except (OSError, UnicodeError) as error:
        raise InvalidInput(f"the nkey file {path} can't be read: {error}") from error


def signature(key: KeyPair, nonce: str) -> bytes:
    """The answer to a server's nonce; empty, so refused, if it is none that a server makes.

    Whoever runs a server could otherwise have anything signed, a proof of possession included.
    """
    if not _NONCE.fullmatch(nonce):
        _log.error("a NATS server sent a nonce that is none; nothing was signed for it")
        return b""
    return base64.b64encode(key.sign(nonce.encode("ascii")))


def _make_key(path: Path) -> KeyPair:
    pair = KeyPair.generate(Prefix.USER)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Written whole under another name first: two processes that start at once see a key
        # or none, never half of one.
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(pair.seed + "\n")
        try:
            os.link(draft, path)
        finally:
            draft.unlink()
    except FileExistsError:
        raise
    except OSError as error:
        raise InvalidInput(f"the nkey file {path} can't be made: {error}") from error
    return pair
