"""Where the master key comes from: settings, else a file in the data directory.

The file is changed in an order that leaves something to start with at every moment: the former
key is put aside, the new one takes its place, the database changes over in one transaction, and
only then is the former one forgotten. Until then both are read.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
import tempfile
from pathlib import Path

from authsvc.errors import StartRefused, WrongMasterKey
from authsvc.server.keystore.seals import KEY_BYTES, Keystore
from authsvc.server.private import sync_folder
from authsvc.server.settings import Settings

__all__ = [
    "FILE",
    "FORMER",
    "HELP",
    "forget_former",
    "load_master_key",
    "load_master_keys",
    "open_keystore",
    "replace_master_key",
]

FILE, FORMER = "master.key", "master.key.previous"
HELP = (
    f"set AUTHSVC_MASTER_KEY, or put the {FILE} back that was in the data directory, from a "
    "backup if need be; if it is lost, only a new database helps"
)


def open_keystore(settings: Settings, *, make: bool = True) -> Keystore:
    """The keystore, which follows when another process changes the master key's file.

    Args:
        settings: Whose.
        make: Whether this is the first start; later a missing file is not made anew.

    Raises:
        StartRefused: A master key can't be read.
        WrongMasterKey: The file is missing.
    """
    keys = load_master_keys(settings, make=make)
    return Keystore(*keys, reload=lambda: load_master_keys(settings, make=False))


def load_master_keys(settings: Settings, *, make: bool = True) -> list[bytes]:
    """The master key, and after it the former one while there is one.

    Raises:
        StartRefused: A setting is no key, or a file is not one, not private or not readable.
        WrongMasterKey: The file is missing.
    """
    keys = [load_master_key(settings, make=make)]
    if settings.master_key_previous is not None:
        text = settings.master_key_previous.get_secret_value()
        keys.append(_decode(text, "AUTHSVC_MASTER_KEY_PREVIOUS"))
    former = settings.data_dir / FORMER
    if settings.master_key is None and former.exists():
        keys.append(_read(former))
    return keys


def load_master_key(settings: Settings, *, make: bool = True) -> bytes:
    """The master key from the setting, else from the file that the first start makes.

    Args:
        settings: Whose.
        make: Whether this is the first start; later a missing file is not made anew.

    Raises:
        StartRefused: The setting is no key, or the file is not one, not private or not readable.
        WrongMasterKey: The file is missing.
    """
    if settings.master_key is not None:
        return _decode(settings.master_key.get_secret_value(), "AUTHSVC_MASTER_KEY")
    path = settings.data_dir / FILE
    try:
        if not path.exists():
            if not make:
                raise WrongMasterKey(f"{path} is missing: {HELP}")
            _make(path, os.urandom(KEY_BYTES))
    except OSError as error:
        raise StartRefused(f"the master key {path} can't be used: {error.strerror}") from None
    return _read(path)


def replace_master_key(settings: Settings) -> bool:
    """Put a new master key in the file's place, and the former one aside.

    Where one was put aside already, an earlier change did not come to its end: that one goes on.

    Returns:
        Whether there is a new one.

    Raises:
        StartRefused: The file can't be used.
    """
    path, former = settings.data_dir / FILE, settings.data_dir / FORMER
    present = load_master_key(settings)
    try:
        if former.exists() and _read(former) != present:
            return False
        former.unlink(missing_ok=True)
        _make(former, present)
        _make(path, os.urandom(KEY_BYTES), replace=True)
    except OSError as error:
        raise StartRefused(f"the master key {path} can't be changed: {error.strerror}") from None
    return True


def forget_former(settings: Settings) -> None:
    """Remove the former master key's file; nothing may be sealed by it any more."""
    (settings.data_dir / FORMER).unlink(missing_ok=True)


def _read(path: Path) -> bytes:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise StartRefused(
                f"{path} can be read by others (mode {mode:04o}): run `chmod 600 {path}`, and if "
                "somebody may have read it, change the operator's keys too"
            )
        return _decode(path.read_text(encoding="ascii").strip(), str(path))
    except OSError as error:
        raise StartRefused(f"the master key {path} can't be used: {error.strerror}") from None
    except UnicodeDecodeError:
        raise StartRefused(f"{path} is no master key: put the right file back") from None


def _decode(text: str, source: str) -> bytes:
    key = b""
    try:
        if len(text) == KEY_BYTES * 2:
            key = bytes.fromhex(text)
        else:
            plain = text.rstrip("=").replace("-", "+").replace("_", "/")
            key = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (ValueError, binascii.Error):
        pass
    if len(key) != KEY_BYTES:
        raise StartRefused(
            f"{source} is no master key: {KEY_BYTES} bytes in base64 or hex are needed, such as "
            f"`openssl rand -base64 {KEY_BYTES}` makes"
        )
    return key


def _make(path: Path, key: bytes, *, replace: bool = False) -> None:
    """Make the file whole or not at all; of several first starts one wins, and all use its key."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:  # mkstemp made it 0600
            file.write(base64.b64encode(key) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(name, path)  # noqa: PTH105 - the name is text here
        else:
            try:
                os.link(name, path)
            except FileExistsError:
                return
        sync_folder(path.parent)
    finally:
        Path(name).unlink(missing_ok=True)
