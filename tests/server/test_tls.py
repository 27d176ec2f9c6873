"""The certificate that the service shows: renewed without a restart, and never half."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from authsvc.errors import StartRefused
from authsvc.server import metrics
from authsvc.server.settings import Settings, load
from authsvc.server.tls import Certificate, pinned, trusting
from tests.fixtures.authority import Authority


@asynccontextmanager
async def listener(certificate: Certificate) -> AsyncIterator[int]:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=certificate.context)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


async def shown(port: int, trust: ssl.SSLContext, name: str | None) -> int:
    """The serial number that a client sees which sends the name, or none."""

    def ask() -> int:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
            trust.wrap_socket(plain, server_hostname=name) as wrapped,
        ):
            assert wrapped.recv(5) == b"hello"
            return int(wrapped.getpeercert()["serialNumber"], 16)  # type: ignore[index,arg-type]

    return await asyncio.to_thread(ask)


async def test_a_renewed_certificate_is_shown_from_the_next_handshake_on(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue(tmp_path, "auth.example.org")
    certificate = Certificate(pair.cert, pair.key)
    changes: list[str] = []
    certificate.on_change.append(lambda: changes.append("now"))
    nameless = authority.trust()
    nameless.check_hostname = False
    async with listener(certificate) as port:
        first = await shown(port, authority.trust(), "auth.example.org")
        assert await shown(port, nameless, None) == first
        assert not certificate.refresh()
        authority.issue(tmp_path, "auth.example.org")
        assert certificate.refresh()
        second = await shown(port, authority.trust(), "auth.example.org")
        assert second != first
        assert await shown(port, nameless, None) == second
        assert changes == ["now"]
        # Half of a renewal: the old pair stays until the rest is there.
        key = pair.key.read_bytes()
        authority.issue(tmp_path, "auth.example.org")
        whole = pair.key.read_bytes()
        pair.key.write_bytes(key)
        assert not certificate.refresh()
        assert await shown(port, authority.trust(), "auth.example.org") == second
        pair.key.write_bytes(whole)
        assert certificate.refresh()
        assert await shown(port, authority.trust(), "auth.example.org") not in {first, second}
        with pytest.raises(ssl.SSLCertVerificationError):
            await shown(port, authority.trust(), "other.example.org")


async def test_files_are_looked_at_by_themselves(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue(tmp_path, "a.example.org")
    certificate = Certificate(pair.cert, pair.key)
    changed = asyncio.Event()
    certificate.on_change.append(changed.set)
    watching = asyncio.create_task(certificate.watch(0.01))
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(days=7)
    authority.issue(tmp_path, "a.example.org", after=soon)
    async with asyncio.timeout(10):
        await changed.wait()
    watching.cancel()
    assert metrics.CERTIFICATE._value.get() == soon.timestamp()


def test_what_can_t_be_used_is_told_at_the_start(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue(tmp_path, "a.example.org")
    other = authority.issue(tmp_path, "b.example.org", base="other")
    with pytest.raises(StartRefused, match="no such file"):
        Certificate(tmp_path / "none.crt", pair.key)
    with pytest.raises(StartRefused, match="KEY_VALUES_MISMATCH"):
        Certificate(pair.cert, other.key)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(StartRefused, match=r"text and .*tls\.key"):
        Certificate(tmp_path / "text", pair.key)
    for bad in ("text", "none"):
        with pytest.raises(StartRefused, match=bad):
            trusting(tmp_path / bad)
    assert trusting(None) is None
    with pytest.raises(StartRefused, match="TLS_CERT and AUTHSVC_TLS_KEY"):
        load(tls_cert=pair.cert)


async def test_pinned_trusts_one_certificate_and_no_other_of_its_authority(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue(tmp_path, "a.example.org")
    other = authority.issue(tmp_path, "a.example.org", base="other")
    async with listener(Certificate(pair.cert, pair.key)) as port:
        assert await shown(port, pinned(pair.cert)(), "127.0.0.1")
        with pytest.raises(ssl.SSLCertVerificationError):
            await shown(port, pinned(other.cert)(), "127.0.0.1")


def test_settings_about_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Authority(tmp_path).issue(tmp_path, "a.example.org")
    settings = load(tls_cert=pair.cert, tls_key=pair.key, public_url="http://a.example.org")
    assert settings.scheme == "https"
    assert any("PUBLIC_URL is http://" in concern for concern in settings.concerns({}))
    assert load().scheme == "http"
    monkeypatch.setenv("AUTHSVC_TRUSTED_PROXIES", "10.0.0.0/8, 127.0.0.1")
    assert Settings().trusted_proxies == ["10.0.0.0/8", "127.0.0.1/32"]
    monkeypatch.setenv("AUTHSVC_TRUSTED_PROXIES", "everybody")
    with pytest.raises(StartRefused, match=r"TRUSTED_PROXIES.*addresses and networks"):
        load()
