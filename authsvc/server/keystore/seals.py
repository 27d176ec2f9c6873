"""Sealing and opening.

A sealed text is: version (1 byte), id of the master key (4), nonce (12), ciphertext and tag.
Version, key id and context are authenticated, so a seed can't be moved to another row.

Sources: NIST SP 800-38D (GCM; random 96-bit nonces, far below 2**32 per key); RFC 5116.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from authsvc.errors import InvalidKey, KeyUnavailable, StartRefused
from authsvc.nkey import KeyPair

__all__ = ["KEY_BYTES", "Keystore"]

KEY_BYTES = 32
_VERSION = b"\x01"
_KEY_ID_BYTES = 4
_NONCE_BYTES = 12
_HEAD_BYTES = len(_VERSION) + _KEY_ID_BYTES


class Keystore:
    """Seals and opens private keys.

    Args:
        master_key: 32 bytes; the newest one.
        former: Other master keys that what is sealed may still be sealed by.
        reload: Reads all of them again, the newest first; asked when a sealed text names one that
            is not known, because another process may have changed it.
    """

    def __init__(
        self,
        master_key: bytes,
        *former: bytes,
        reload: Callable[[], Sequence[bytes]] | None = None,
    ) -> None:
        self._reload = reload
        self._ciphers: dict[bytes, AESGCM] = {}
        self._newest = self._head = b""
        self._take([master_key, *former])

    def _take(self, keys: Sequence[bytes]) -> None:
        found = {}
        for key in keys:
            if len(key) != KEY_BYTES:
                raise StartRefused(f"a master key has {KEY_BYTES} bytes, not {len(key)}")
            digest = hashlib.sha256(b"authsvc master key id\0" + key).digest()
            found[_VERSION + digest[:_KEY_ID_BYTES]] = AESGCM(key)
        # What was known stays: a transaction that has begun may need it.
        self._ciphers.update(found)
        self._newest = next(iter(found))
        self._head = self._head or self._newest

    def refresh(self) -> None:
        """Read the master keys again.

        Raises:
            StartRefused: One can't be read.
        """
        if self._reload is not None:
            self._take(self._reload())

    @property
    def newest_id(self) -> str:
        """The id of the newest master key, in hex; it tells nothing about the key."""
        return self._newest[len(_VERSION) :].hex()

    @property
    def current_id(self) -> str:
        """The id of the master key that seals now."""
        return self._head[len(_VERSION) :].hex()

    def by_newest(self, sealed: bytes) -> bool:
        """Whether the newest master key sealed it."""
        return sealed[:_HEAD_BYTES] == self._newest

    def follow(self, sealed: bytes) -> None:
        """Seal by the master key that sealed this from now on.

        Raises:
            KeyUnavailable: That one is not here.
        """
        self._cipher(sealed)
        self._head = sealed[:_HEAD_BYTES]

    def adopt_newest(self) -> None:
        """Seal by the newest master key from now on."""
        self._head = self._newest

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
            KeyUnavailable: It is not here, another master key sealed it, it was changed, or it
                belongs elsewhere.
        """
        try:
            return KeyPair.from_seed(self.open_bytes(sealed, context))
        except InvalidKey:
            raise KeyUnavailable("what is sealed is no private key") from None

    def seal_bytes(self, secret: bytes, context: str) -> bytes:
        """Encrypt any short secret; see ``seal``."""
        return self._seal(self._head, secret, context)

    def reseal(self, sealed: bytes, context: str) -> bytes:
        """The same secret, sealed by the newest master key.

        Raises:
            KeyUnavailable: It can't be opened.
        """
        return self._seal(self._newest, self.open_bytes(sealed, context), context)

    def _seal(self, head: bytes, secret: bytes, context: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        box = self._ciphers[head].encrypt(nonce, secret, head + context.encode())
        return head + nonce + box

    def open_bytes(self, sealed: bytes, context: str) -> bytes:
        """The secret in a sealed text.

        Raises:
            KeyUnavailable: It is not here, another master key sealed it, it was changed, or it
                belongs elsewhere.
        """
        if not sealed:
            raise KeyUnavailable("the private key is not here: it was removed, or is retired")
        cipher = self._cipher(sealed)
        head, nonce = sealed[:_HEAD_BYTES], sealed[_HEAD_BYTES:][:_NONCE_BYTES]
        try:
            opened = cipher.decrypt(
                nonce, sealed[_HEAD_BYTES + _NONCE_BYTES :], head + context.encode()
            )
        except (InvalidTag, ValueError):
            raise KeyUnavailable("a sealed key was changed, or belongs to something else") from None
        if head == self._newest:
            # Nothing is sealed by it before the database has changed over.
            self._head = head
        return opened

    def _cipher(self, sealed: bytes) -> AESGCM:
        if sealed[:1] != _VERSION:
            raise KeyUnavailable("a sealed key is of a version that this authsvc does not know")
        head = sealed[:_HEAD_BYTES]
        if head not in self._ciphers:
            try:
                self.refresh()
            except StartRefused as error:
                raise KeyUnavailable(str(error)) from error
        if head not in self._ciphers:
            raise KeyUnavailable("a sealed key was sealed under another master key")
        return self._ciphers[head]
