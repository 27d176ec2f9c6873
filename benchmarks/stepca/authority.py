"""A step-ca of its own: two certificates, one JWK provisioner, its default store, one process.

It is compiled from ``go.mod`` beside this file, without cgo, into ``build/`` once. It runs as its
own ``step ca init`` sets it up, with these differences, all in its favour: no request log,
the intermediate's key lies in a file without a pass phrase, and Go may be told to run more threads
at once than it would choose.

Its store is Badger 2 with ``SyncWrites``: a certificate is two transactions (the token is spent,
then the certificate and what is known of it), each synced to disk before its answer, and Badger
gathers what comes at the same time into one sync.

Sources: smallstep's certificates (authority/config, api/sign.go) and nosql (badger/v2).
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jwt as pyjwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.fixtures.ports import free_port

_MODULE = Path(__file__).parent
BINARY = _MODULE.parents[1] / "build" / "step-ca"
_PROVISIONER = "bench"
_READY_SECONDS = 30.0
_DAY = timedelta(days=1)


def built() -> Path:
    """The program, compiled unless it is there.

    Raises:
        SystemExit: Go is missing, or can't compile it.
    """
    if BINARY.exists():
        return BINARY
    go = shutil.which("go")
    if go is None:
        raise SystemExit("step-ca is compiled here: install Go 1.26 or later")
    command = [go, "build", "-C", str(_MODULE), "-buildvcs=false", "-o", str(BINARY)]
    command.append("github.com/smallstep/certificates/cmd/step-ca")
    done = subprocess.run(command, check=False, env=os.environ | {"CGO_ENABLED": "0"})
    if done.returncode:
        raise SystemExit("step-ca could not be compiled")
    return BINARY


class StepCa:
    """One that runs while the block lasts.

    Args:
        folder: Empty, for its certificates, configuration and store.
        threads: That run Go code at once (``GOMAXPROCS``); unless given as many as it has cores.
    """

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        self.port = free_port()
        self._threads = threads
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._kid = secrets.token_urlsafe(32)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._write()
        environ = os.environ | ({"GOMAXPROCS": str(self._threads)} if self._threads else {})
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [built(), self._folder / "ca.json"], stdout=log, stderr=log, env=environ
            )
        self._wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(30)

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process is not None
        return self._process.pid

    @property
    def trust(self) -> ssl.SSLContext:
        """For its clients."""
        return ssl.create_default_context(cafile=str(self._folder / "root.crt"))

    def requests(self, count: int) -> list[bytes]:
        """``POST /1.0/sign``, each with a token of its own for a key of its own."""
        return [self._request(f"user{secrets.token_hex(8)}@example.com") for _ in range(count)]

    def _request(self, name: str) -> bytes:
        url = f"https://127.0.0.1:{self.port}/1.0/sign"
        now = int(time.time())
        claims = {
            "iss": _PROVISIONER,
            "sub": name,
            "aud": url,
            "sans": [name],
            "nbf": now,
            "iat": now,
            "exp": now + 300,
            "jti": secrets.token_hex(32),
        }
        token = pyjwt.encode(claims, self._key, "ES256", headers={"kid": self._kid})
        # What `step` makes unless told otherwise.
        key = ec.generate_private_key(ec.SECP256R1())
        wanted = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(_name(name))
            .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(name)]), critical=False)
            .sign(key, hashes.SHA256())
        )
        text = wanted.public_bytes(serialization.Encoding.PEM).decode()
        body = json.dumps({"csr": text, "ott": token}).encode()
        head = (
            f"POST /1.0/sign HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def _write(self) -> None:
        root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        root = _certificate("root", root_key, "root", root_key, path=1)
        intermediate = _certificate("intermediate", key, "root", root_key, path=0)
        for name, certificate in (("root", root), ("intermediate", intermediate)):
            pem = certificate.public_bytes(serialization.Encoding.PEM)
            (self._folder / f"{name}.crt").write_bytes(pem)
        (self._folder / "intermediate.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        (self._folder / "ca.json").write_text(json.dumps(self._config()))

    def _config(self) -> dict[str, Any]:
        numbers = self._key.public_key().public_numbers()
        jwk = {
            "use": "sig",
            "kty": "EC",
            "kid": self._kid,
            "crv": "P-256",
            "alg": "ES256",
            "x": _text(numbers.x),
            "y": _text(numbers.y),
        }
        return {
            "root": str(self._folder / "root.crt"),
            "crt": str(self._folder / "intermediate.crt"),
            "key": str(self._folder / "intermediate.key"),
            "address": f"127.0.0.1:{self.port}",
            "dnsNames": ["127.0.0.1"],
            "db": {"type": "badgerv2", "dataSource": str(self._folder / "db")},
            "authority": {"provisioners": [{"type": "JWK", "name": _PROVISIONER, "key": jwk}]},
        }

    def _wait(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            assert self._process is not None
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit((self._folder / "log").read_text()) from None
                time.sleep(0.05)
            else:
                return


def _text(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    path: int,
) -> x509.Certificate:
    """One of an authority, that may stand above so many others."""
    now = datetime.now(UTC)
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=False,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .sign(issuer_key, hashes.SHA256())
    )
