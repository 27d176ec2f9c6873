"""Private keys at rest: AES-256-GCM under one master key that the database never sees.

    keystore = Keystore(load_master_key(settings))
    sealed = keystore.seal(pair, pair.public.text)      # goes into a row
    pair = keystore.open(sealed, pair.public.text)      # the same context, else KeyUnavailable

A sealed text is: version (1 byte), id of the master key (4), nonce (12), ciphertext and tag.
Version, key id and context are authenticated, so a seed can't be moved to another row.

Sources: NIST SP 800-38D (GCM; random 96-bit nonces, far below 2**32 per key); RFC 5116.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
import tempfile
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from authsvc.errors import InvalidKey, KeyUnavailable, StartRefused, WrongMasterKey
from authsvc.nkey import KeyPair
from authsvc.server.models import KeystoreCheck
from authsvc.server.settings import Settings

__all__ = ["Keystore", "is_new", "load_master_key", "verify_master_key"]

_VERSION = b"\x01"
_KEY_BYTES = 32
_KEY_ID_BYTES = 4
_NONCE_BYTES = 12
_HEAD_BYTES = len(_VERSION) + _KEY_ID_BYTES
_CHECK = b"authsvc keystore check"
_FILE = "master.key"
_HELP = (
    f"set AUTHSVC_MASTER_KEY, or put the {_FILE} back that was in the data directory, from a "
    "backup if need be; if it is lost, only a new database helps"
)


class Keystore:
    """Seals and opens private keys.

    Args:
        master_key: 32 bytes.
    """

    def __init__(self, master_key: bytes) -> None:
        if len(master_key) != _KEY_BYTES:
            raise StartRefused(f"a master key has {_KEY_BYTES} bytes, not {len(master_key)}")
        self._cipher = AESGCM(master_key)
        digest = hashlib.sha256(b"authsvc master key id\0" + master_key).digest()
        self._head = _VERSION + digest[:_KEY_ID_BYTES]

    def seal(self, key: KeyPair, context: str) -> bytes:
        """Encrypt a key's seed.

        Args:
            key: The private key.
            context: What the sealed text belongs to; opening needs the same.
        """
        return self.seal_bytes(key.seed.encode("ascii"), context)

    def open(self, sealed: bytes, context: str) -> KeyPair:
        """The private key in a sealed text.

        Raises:
            KeyUnavailable: Another master key sealed it, it was changed, or it belongs elsewhere.
        """
        try:
            return KeyPair.from_seed(self.open_bytes(sealed, context))
        except InvalidKey:
            raise KeyUnavailable("what is sealed is no private key") from None

    def seal_bytes(self, secret: bytes, context: str) -> bytes:
        """Encrypt any short secret; see ``seal``."""
        nonce = os.urandom(_NONCE_BYTES)
        bound = self._head + context.encode()
        return self._head + nonce + self._cipher.encrypt(nonce, secret, bound)

    def open_bytes(self, sealed: bytes, context: str) -> bytes:
        """The secret in a sealed text.

        Raises:
            KeyUnavailable: Another master key sealed it, it was changed, or it belongs elsewhere.
        """
        if sealed[:1] != _VERSION:
            raise KeyUnavailable("a sealed key is of a version that this authsvc does not know")
        if sealed[:_HEAD_BYTES] != self._head:
            raise KeyUnavailable("a sealed key was sealed under another master key")
        nonce, box = sealed[_HEAD_BYTES:][:_NONCE_BYTES], sealed[_HEAD_BYTES + _NONCE_BYTES :]
        try:
            return self._cipher.decrypt(nonce, box, self._head + context.encode())
        except (InvalidTag, ValueError):
            raise KeyUnavailable("a sealed key was changed, or belongs to something else") from None


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
    path = settings.data_dir / _FILE
    try:
        if not path.exists():
            if not make:
                raise WrongMasterKey(f"{path} is missing: {_HELP}")
            _make(path)
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
        if len(text) == _KEY_BYTES * 2:
            key = bytes.fromhex(text)
        else:
            plain = text.rstrip("=").replace("-", "+").replace("_", "/")
            key = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (ValueError, binascii.Error):
        pass
    if len(key) != _KEY_BYTES:
        raise StartRefused(
            f"{source} is no master key: {_KEY_BYTES} bytes in base64 or hex are needed, such as "
            f"`openssl rand -base64 {_KEY_BYTES}` makes"
        )
    return key


def _make(path: Path) -> None:
    """Make the file whole or not at all; of several first starts one wins, and all use its key."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:  # mkstemp made it 0600
            file.write(base64.b64encode(os.urandom(_KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(name, path)
        except FileExistsError:
            return
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        os.unlink(name)  # noqa: PTH108 - the name is text here


async def is_new(session: AsyncSession) -> bool:
    """Whether nothing was sealed in this database yet."""
    return await session.get(KeystoreCheck, 1) is None


async def verify_master_key(session: AsyncSession, keystore: Keystore) -> None:
    """Check the master key against the database; the first start writes what is checked.

    Args:
        session: One that writes.
        keystore: With the master key in question.

    Raises:
        WrongMasterKey: The database was made under another one.
    """
    row = await session.get(KeystoreCheck, 1)
    if row is None:
        dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
        sealed = keystore.seal_bytes(_CHECK, "keystore check")
        statement = dialect.insert(KeystoreCheck).values(id=1, sealed=sealed)
        # Replicas may start for the first time together: one writes, all check what it wrote.
        await session.execute(statement.on_conflict_do_nothing())
        row = await session.get_one(KeystoreCheck, 1)
    try:
        if keystore.open_bytes(row.sealed, "keystore check") == _CHECK:
            return
    except KeyUnavailable:
        pass
    raise WrongMasterKey(
        f"the master key is not the one that this database's keys were sealed with: {_HELP}"
    )
