"""TLS: the certificate that the service shows, and whom it trusts at nats-server.

    certificate = Certificate(settings.tls_cert, settings.tls_key)
    uvicorn.Config(..., ssl_context_factory=lambda *_: certificate.context)
    certificate.refresh()                        # a renewed pair counts from the next handshake

Files are read anew when they change, so that a renewed certificate needs no restart; a pair that
can't be used is logged, and the one before stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from authsvc.errors import StartRefused
from authsvc.server import metrics

__all__ = ["Certificate", "Trust", "pinned", "trusting"]

Trust = Callable[[], ssl.SSLContext]
"""Makes a client's context for each connection, so that a renewed file counts for the next one."""

LOOK_SECONDS = 5.0
_log = logging.getLogger(__name__)


class Certificate:
    """The certificate and key of a listener, read again when they change.

    Args:
        cert: The certificate chain, PEM, the service's own first.
        key: Its private key, PEM without a pass phrase.

    Raises:
        StartRefused: The files can't be read, or don't belong together.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        self._cert, self._key = cert, key
        self._seen = self._state()
        self._current = self._load()
        self.context = _listener()
        """For the listener; it hands every handshake on to the newest pair."""
        self.context.sni_callback = self._choose
        self.on_change: list[Callable[[], None]] = []
        """Called after another pair was loaded."""

    def refresh(self) -> bool:
        """Load the files again where they changed; whether another pair is in use now."""
        now = self._state()
        if now == self._seen:
            return False
        try:
            self._current = self._load()
        except StartRefused as error:
            # Half-written, most likely. They are looked at again when they change once more.
            _log.error("the certificate in use stays: %s", error)
            self._seen = now
            return False
        self._seen = now
        _log.info("the certificate was renewed")
        for changed in self.on_change:
            changed()
        return True

    async def watch(self, seconds: float = LOOK_SECONDS) -> None:
        """Look at the files for ever.

        Args:
            seconds: Between two looks.
        """
        while True:
            await asyncio.sleep(seconds)
            self.refresh()

    def _choose(
        self, handshake: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _context: ssl.SSLContext
    ) -> None:
        handshake.context = self._current

    def _state(self) -> tuple[tuple[int, int, int], ...]:
        found = []
        for path in (self._cert, self._key):
            with contextlib.suppress(OSError):
                # Through symbolic links: certbot and Kubernetes exchange those.
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_ino, status.st_size))
        return tuple(found)

    def _load(self) -> ssl.SSLContext:
        context = _listener()
        for path in (self._cert, self._key):
            if not os.access(path, os.R_OK):
                why = "it can't be read" if path.exists() else "there is no such file"
                raise StartRefused(f"{path}: {why}")
        try:
            context.load_cert_chain(self._cert, self._key, password=_no_pass_phrase)
            leaf = x509.load_pem_x509_certificates(self._cert.read_bytes())[0]
        except (ssl.SSLError, OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or "they are no PEM files that can be used"
            raise StartRefused(f"{self._cert} and {self._key}: {reason}") from None
        if leaf.not_valid_after_utc < datetime.now(UTC):
            _log.warning("%s has expired on %s", self._cert, leaf.not_valid_after_utc)
        metrics.CERTIFICATE.set(leaf.not_valid_after_utc.timestamp())
        return context


def trusting(ca: Path | None) -> Trust | None:
    """Trust in the authorities of a file; None means the system's.

    Args:
        ca: Certificates of authorities, PEM.

    Raises:
        StartRefused: The file can't be used.
    """
    if ca is None:
        return None

    def trust() -> ssl.SSLContext:
        return ssl.create_default_context(cafile=ca)

    try:
        trust()
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "strerror", None) or "it holds no certificate"
        raise StartRefused(f"{ca}: {reason}") from None
    return trust


def pinned(cert: Path) -> Trust:
    """Trust in exactly the certificate of a file, whatever name it is for.

    For our own nats-server on this machine, which is reached by an address that no authority
    certifies, and whose certificate we gave it.

    Args:
        cert: The certificate chain, PEM, the server's own first.
    """

    def trust() -> ssl.SSLContext:
        leaf = x509.load_pem_x509_certificates(cert.read_bytes())[0]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=leaf.public_bytes(Encoding.PEM).decode("ascii"))
        return context

    return trust


def _listener() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _no_pass_phrase() -> bytes:
    # Without this OpenSSL asks for one on the terminal, for ever.
    return b""
