"""The user's nkey: given, or kept in a file of its own."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from authsvc.errors import InvalidInput
from authsvc.nkey import KeyPair, Prefix

__all__ = ["KeyTypes", "load_key"]

KeyTypes = KeyPair | str | os.PathLike[str] | None

_SEED_CHARS = 58


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
