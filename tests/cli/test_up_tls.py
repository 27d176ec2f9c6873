"""``authsvc up --tls-cert --tls-key``: all listeners by TLS, and a renewal without a restart."""

from __future__ import annotations

import re
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from authsvc.admin_client import AdminApi
from authsvc.errors import Unavailable
from tests.cli.test_up import Up, eventually
from tests.fixtures.authority import Authority
from tests.fixtures.ports import free_port

NAME = "auth.authsvc.test"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path / "tls")
    made.issue(tmp_path / "tls", NAME)
    return made


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def up(tmp_path: Path, authority: Authority, port: int) -> Iterator[Up]:
    files = ("--tls-cert", tmp_path / "tls" / "tls.crt", "--tls-key", tmp_path / "tls" / "tls.key")
    places = ("--data-dir", tmp_path / "data", "--port", port, "--nats-port", 0, "--ws-port", 0)
    started = Up(*map(str, places + files), env={"AUTHSVC_PUBLIC_URL": f"https://{NAME}:{port}"})
    yield started
    started.stop()


def shown(port: int, trust: ssl.SSLContext, *, nats: bool = False) -> str:
    """The serial number of the certificate that is shown for the name."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
        if nats:
            assert b'"tls_required":true' in plain.recv(4096)
        with trust.wrap_socket(plain, server_hostname=NAME) as wrapped:
            found = wrapped.getpeercert()
    assert found is not None
    return str(found["serialNumber"])


def test_up_by_tls(up: Up, authority: Authority, port: int, tmp_path: Path) -> None:
    told = "\n".join(up.lines)
    nats, websocket = (
        int(re.findall(rf"\b{scheme}://127\.0\.0\.1:(\d+)", told)[0]) for scheme in ("tls", "wss")
    )
    trust = authority.trust()
    first = shown(port, trust)
    assert shown(nats, trust, nats=True) == shown(websocket, trust) == first

    def get(path: str) -> httpx.Response:
        with httpx.Client(verify=trust) as http:
            url = f"https://127.0.0.1:{port}{path}"
            return http.get(url, extensions={"sni_hostname": NAME})

    # Ready: the service reached its own nats-server, by TLS.
    assert get("/readyz").status_code == 200
    servers = get("/.well-known/authsvc").json()["servers"]
    assert servers == [f"tls://{NAME}:{nats}", f"wss://{NAME}:{websocket}"]
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{port}/healthz")
    url = f"https://127.0.0.1:{port}"
    with AdminApi(url, "key") as api, pytest.raises(Unavailable, match="SSL_CERT_FILE"):
        api.get("/readyz")
    authority.issue(tmp_path / "tls", NAME)
    up.process.send_signal(signal.SIGHUP)
    eventually(lambda: shown(port, trust) != first)
    eventually(lambda: shown(nats, trust, nats=True) != first)
    assert shown(websocket, trust) == shown(nats, trust, nats=True) == shown(port, trust)
    assert get("/readyz").status_code == 200
