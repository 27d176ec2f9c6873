"""``authsvc doctor`` where no service runs: databases, keys, programs and locks, really broken."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from authsvc.cli.doctor import service as service_checks
from authsvc.cli.own_dir import LOCK
from authsvc.server.provision.stale import Claim
from authsvc.server.settings import load
from authsvc.server.store import open_store
from tests.cli.invoking import authsvc
from tests.fixtures.ports import free_port

Finding = dict[str, Any]


@pytest.fixture
async def data_dir(tmp_path: Path) -> Path:
    """Where a service was set up once."""
    folder = tmp_path / "data"
    async with open_store(load(data_dir=folder)):
        pass
    return folder


async def bad(data_dir: Path, **env: str) -> tuple[int, dict[str, Finding]]:
    """Exit code, and what is not well; that nothing runs is known."""
    code, out, _ = await authsvc("doctor", "--data-dir", str(data_dir), "--json", **env)
    found = {it["check"]: it for it in json.loads(out)["findings"] if it["state"] != "ok"}
    assert found.pop("service")["detail"] == "no `authsvc up` ran here yet"
    return code, found


def change(*statements: str) -> Callable[[Path], None]:
    def run(path: Path) -> None:
        with closing(sqlite3.connect(path)) as database:
            for statement in statements:
                database.execute(statement)
            database.commit()

    return run


def overwrite(path: Path) -> None:
    path.write_bytes(b"no database at all" * 400)


BROKEN = {
    "older": (
        change("UPDATE alembic_version SET version_num = '0001'"),
        "migrations",
        "db upgrade",
    ),
    "newer": (
        change("UPDATE alembic_version SET version_num = '9999'"),
        "migrations",
        "start that",
    ),
    "torn": (change("DELETE FROM alembic_version"), "migrations", "restore the last backup"),
    "lacking": (change("DROP TABLE dead_keys"), "migrations", "restore the last backup"),
    "rubbish": (overwrite, "database", "restore the last backup"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_databases(data_dir: Path, name: str) -> None:
    assert await bad(data_dir) == (0, {})
    breaking, check, mend = BROKEN[name]
    breaking(data_dir / "authsvc.db")
    code, found = await bad(data_dir)
    assert (code, set(found), found[check]["state"]) == (1, {check}, "fail")
    assert mend in found[check]["mend"]


async def test_a_database_that_is_held_or_away(data_dir: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(data_dir / "authsvc.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        code, found = await bad(data_dir)
    assert (code, "locked" in found["database"]["detail"]) == (1, True)
    url = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    code, found = await bad(data_dir, AUTHSVC_DATABASE_URL=url)
    assert (code, "start PostgreSQL" in found["database"]["mend"]) == (1, True)
    code, found = await bad(data_dir, AUTHSVC_DATABASE_URL="mysql://x")
    assert (code, found["database"]["state"]) == (1, "fail")
    (tmp_path / "empty").mkdir()
    code, found = await bad(tmp_path / "empty")
    assert (code, found["database"]["state"]) == (0, "warn")


async def test_master_keys(data_dir: Path) -> None:
    path = data_dir / "master.key"
    code, found = await bad(data_dir, AUTHSVC_MASTER_KEY="A" * 43)
    assert (code, found["master key"]["state"]) == (1, "fail")
    assert "not the one" in found["master key"]["detail"]
    code, found = await bad(data_dir, AUTHSVC_MASTER_KEY="short")
    assert (code, "is no master key" in found["master key"]["detail"]) == (1, True)
    path.chmod(0o640)
    code, found = await bad(data_dir)
    assert found["master key"]["mend"] == f"chmod 600 {path}"
    path.unlink()
    code, found = await bad(data_dir)
    assert (code, "missing" in found["master key"]["detail"]) == (1, True)


async def test_settings_and_programs(data_dir: Path, tmp_path: Path) -> None:
    code, found = await bad(data_dir, AUTHSVC_PROT="1")
    assert (code, "AUTHSVC_PROT" in found["settings"]["detail"]) == (0, True)
    code, out, _ = await authsvc("doctor", "--json", AUTHSVC_PORT="many")
    (only,) = json.loads(out)["findings"]
    assert (code, only["check"], "AUTHSVC_PORT" in only["detail"]) == (1, "settings", True)
    old = tmp_path / "nats-server"
    old.write_text("#!/bin/sh\necho 'nats-server: v2.14.2'\n")
    old.chmod(0o755)
    code, found = await bad(data_dir, AUTHSVC_NATS_SERVER=str(old))
    assert (code, "2.14.3 or later" in found["nats-server here"]["detail"]) == (1, True)


async def test_locks(data_dir: Path) -> None:
    with Claim(data_dir, lock=LOCK):
        code, out, _ = await authsvc("doctor", "--data-dir", str(data_dir), "--json")
        (lock,) = [it for it in json.loads(out)["findings"] if it["check"] == "locks"]
        assert (code, f"(pid {os.getpid()}) runs here" in lock["detail"]) == (0, True)
    folder = data_dir / "nats"
    folder.mkdir()
    config = folder / "nats-server.conf"
    config.write_text(f"listen: 127.0.0.1:{free_port()}\n")
    binary = Path(sys.executable).parent / "nats-server"
    with subprocess.Popen(  # noqa: ASYNC220 - it is only waited for
        [binary, "-c", config, "-P", folder / "nats-server.pid"], stderr=subprocess.PIPE
    ) as left:
        try:
            assert left.stderr is not None
            while b"Server is ready" not in left.stderr.readline():
                pass
            code, found = await bad(data_dir)
        finally:
            left.terminate()
    assert (code, found["locks"]["state"]) == (0, "warn")
    assert found["locks"]["mend"].startswith(f"kill {left.pid};")
    assert await bad(data_dir) == (0, {})


@pytest.fixture
def https(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], str]]:
    """Servers with certificates that are trusted here, and end in so many days."""
    listeners: list[socket.socket] = []

    def start(days: int) -> str:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=90))
            .not_valid_after(now + timedelta(days=days, hours=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(key, hashes.SHA256())
        )
        file = tmp_path / f"{days}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        listening = socket.create_server(("127.0.0.1", 0))
        listeners.append(listening)
        threading.Thread(target=_shake_hands, args=(context, listening), daemon=True).start()
        return f"https://localhost:{listening.getsockname()[1]}"

    yield start
    for listening in listeners:
        listening.close()


def _shake_hands(context: ssl.SSLContext, listening: socket.socket) -> None:
    try:
        connection, _ = listening.accept()
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(1)
    except OSError:
        pass


def test_certificates(https: Callable[[int], str]) -> None:
    for days, state in ((60, "ok"), (5, "warn"), (-1, "fail")):
        (found,) = service_checks._certificate(https(days))
        assert (found.state, found.check) == (state, "certificate"), found
    assert service_checks._certificate("http://localhost") == []
