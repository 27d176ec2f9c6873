"""The encrypted file: age's format, written and read in pieces of 64 KiB.

    sealed = Sealed(file, [Passphrase(text)])
    sealed.write(b"...")
    sealed.close()                                   # without it the file is cut off, and says so
    for piece in unseal(file, [Passphrase(text)]): ...

Every piece is authenticated with its place and whether it is the last one: none can be changed,
moved, left out or added unseen. A file can be opened without authsvc, by ``age -d``.

Source: https://github.com/C2SP/C2SP/blob/main/age.md; STREAM is of https://eprint.iacr.org/2015/189.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from authsvc.errors import InvalidBackup
from authsvc.server.backup.stanzas import Opener, Sealer, Stanza, b64, hkdf, unb64

__all__ = ["Sealed", "is_for_passphrase", "unseal"]

_VERSION = b"age-encryption.org/v1\n"
_SCRYPT = "scrypt"
_CHUNK, _TAG = 65536, 16
_KEY_BYTES, _NONCE_BYTES = 16, 16
_COLUMNS = 64
_MOST_LINES = 512
"""Of a header: some hundred recipients."""
_LONGEST_LINE = 512
_ARGUMENT = re.compile(r"[!-~]+\Z")
_CUT = "the file ends too early: it was cut off; take another copy"
_CHANGED = "the file was changed after it was written, or is damaged; take another copy"
_HEADER = "the file's header is not as it was written"


class Sealed:
    """A file that is being encrypted.

    Args:
        file: Open for writing.
        sealers: For whom; a passphrase can only be alone.
    """

    def __init__(self, file: BinaryIO, sealers: Sequence[Sealer]) -> None:
        file_key = os.urandom(_KEY_BYTES)
        stanzas = [sealer.wrap(file_key) for sealer in sealers]
        head = _VERSION + b"".join(map(_spelt, stanzas)) + b"---"
        nonce = os.urandom(_NONCE_BYTES)
        file.write(head + b" " + b64(_mac(file_key, head)).encode() + b"\n" + nonce)
        self._file = file
        self._cipher = ChaCha20Poly1305(hkdf(file_key, nonce, b"payload"))
        self._held = bytearray()
        self._count = 0

    def write(self, data: bytes) -> None:
        """Encrypt more."""
        self._held += data
        # A full piece waits: only the next byte tells that it is not the last one.
        while len(self._held) > _CHUNK:
            self._put(bytes(self._held[:_CHUNK]), last=False)
            del self._held[:_CHUNK]

    def close(self) -> None:
        """Write the last piece, which says that it is."""
        self._put(bytes(self._held), last=True)
        self._held.clear()

    def _put(self, chunk: bytes, *, last: bool) -> None:
        self._file.write(self._cipher.encrypt(_nonce(self._count, last=last), chunk, None))
        self._count += 1


def unseal(file: BinaryIO, openers: Sequence[Opener]) -> Iterator[bytes]:
    """What is in the file, piece by piece; the iterator's end alone says that it is whole.

    Args:
        file: Open for reading, at its beginning.
        openers: Any of them may be the right one.

    Raises:
        InvalidBackup: None of them opens it, or it was changed or cut off.
    """
    stanzas, head, mac = _read_header(file)
    file_key = next((key for it in openers if (key := it.unwrap(stanzas)) is not None), None)
    if file_key is None:
        raise InvalidBackup(_why_closed(stanzas))
    if not hmac.compare_digest(_mac(file_key, head), mac):
        raise InvalidBackup(_CHANGED)
    nonce = file.read(_NONCE_BYTES)
    if len(nonce) != _NONCE_BYTES:
        raise InvalidBackup(_CUT)
    cipher = ChaCha20Poly1305(hkdf(file_key, nonce, b"payload"))
    sealed, count = file.read(_CHUNK + _TAG), 0
    while True:
        following = file.read(_CHUNK + _TAG)
        yield _open_chunk(cipher, sealed, count, last=not following)
        if not following:
            return
        sealed, count = following, count + 1


def is_for_passphrase(file: BinaryIO) -> bool:
    """Whether a passphrase opens the file, and no key does.

    Args:
        file: At its beginning; it is there again afterwards.

    Raises:
        InvalidBackup: It is no file of age's.
    """
    stanzas, _, _ = _read_header(file)
    file.seek(0)
    return any(stanza.arguments[0] == _SCRYPT for stanza in stanzas)


def _open_chunk(cipher: ChaCha20Poly1305, sealed: bytes, count: int, *, last: bool) -> bytes:
    if len(sealed) < _TAG or (len(sealed) == _TAG and count):
        raise InvalidBackup(_CUT)
    try:
        return cipher.decrypt(_nonce(count, last=last), sealed, None)
    except InvalidTag:
        pass
    if last:
        try:
            cipher.decrypt(_nonce(count, last=False), sealed, None)
        except InvalidTag:
            # Cut within a piece, or changed: nobody can tell.
            raise InvalidBackup(f"{_CHANGED} (it may have been cut off)") from None
        raise InvalidBackup(_CUT)
    raise InvalidBackup(_CHANGED)


def _nonce(count: int, *, last: bool) -> bytes:
    return count.to_bytes(11, "big") + (b"\x01" if last else b"\x00")


def _mac(file_key: bytes, head: bytes) -> bytes:
    return hmac.digest(hkdf(file_key, b"", b"header"), head, hashlib.sha256)


def _spelt(stanza: Stanza) -> bytes:
    body = b64(stanza.body)
    # The last line of a body is shorter than the others, and empty if need be.
    lines = [body[place : place + _COLUMNS] for place in range(0, len(body) + 1, _COLUMNS)]
    return "".join(f"{line}\n" for line in [f"-> {' '.join(stanza.arguments)}", *lines]).encode()


def _read_header(file: BinaryIO) -> tuple[list[Stanza], bytes, bytes]:
    version = file.read(len(_VERSION))
    if version != _VERSION:
        raise InvalidBackup("this is no backup: it does not begin as a file of age's does")
    head = bytearray(version)
    stanzas: list[Stanza] = []
    for _ in range(_MOST_LINES):
        line = _line(file)
        if line.startswith("--- "):
            mac = unb64(line.removeprefix("--- "))
            if not stanzas:
                break
            return stanzas, bytes(head) + b"---", mac
        arguments = tuple(line.removeprefix("-> ").split(" "))
        if not line.startswith("-> ") or not all(map(_ARGUMENT.match, arguments)):
            break
        lines = [line, *_body(file)]
        stanzas.append(Stanza(arguments, unb64("".join(lines[1:]))))
        head += "".join(f"{text}\n" for text in lines).encode()
    raise InvalidBackup(_HEADER)


def _body(file: BinaryIO) -> list[str]:
    lines: list[str] = []
    while len(lines) < _MOST_LINES:
        lines.append(_line(file))
        if len(lines[-1]) < _COLUMNS:
            return lines
        if len(lines[-1]) > _COLUMNS:
            break
    raise InvalidBackup(_HEADER)


def _line(file: BinaryIO) -> str:
    line = file.readline(_LONGEST_LINE)
    if not line.endswith(b"\n"):
        raise InvalidBackup(_CUT if len(line) < _LONGEST_LINE else _HEADER)
    try:
        return line[:-1].decode("ascii")
    except UnicodeDecodeError:
        raise InvalidBackup(_HEADER) from None


def _why_closed(stanzas: Sequence[Stanza]) -> str:
    if any(stanza.arguments[0] == _SCRYPT for stanza in stanzas):
        return "the passphrase is not the one that this backup was made with"
    return "this backup is for other keys: give the file with the right one by --identity-file"
