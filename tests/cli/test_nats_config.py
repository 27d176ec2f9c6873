"""``authsvc nats config`` with TLS, and without what a configuration of others says already."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from authsvc.server.provision.binary import find_nats_server
from authsvc.server.provision.external import TLS_FILES
from tests.cli.shell import Ran, authsvc
from tests.fixtures.authority import Authority


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"AUTHSVC_DATA_DIR": str(tmp_path / "data")}


def accepted(text: str, folder: Path) -> str:
    """What nats-server says against it; nothing if it takes it."""
    path = folder / "checked.conf"
    path.write_text(text)
    done = subprocess.run(
        [find_nats_server().path, "-t", "-c", path], capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stderr


async def config(environ: dict[str, str], *words: str) -> Ran:
    return await authsvc("nats", "config", *words, env=environ)


async def test_tls_is_for_clients_websockets_and_routes(
    environ: dict[str, str], tmp_path: Path
) -> None:
    cluster = ("--cluster", "c1", "--route", "nats://n2:6222", "--store-dir", str(tmp_path / "n1"))
    ran = await config(environ, "--tls", "--ws-listen", "0.0.0.0:443", *cluster)
    assert (ran.code, ran.err) == (0, "")
    cert, key, ca = TLS_FILES
    assert ran.out.count(f'cert_file: "{cert}"') == ran.out.count(f'key_file: "{key}"') == 3
    assert ran.out.count(f'ca_file: "{ca}"') == ran.out.count("verify: true") == 1
    assert "no_tls" not in ran.out
    authority = Authority(tmp_path)
    pair = authority.issue(tmp_path, "n1")
    files = {cert: pair.cert, key: pair.key, ca: authority.file}
    text = ran.out
    for usual, real in files.items():
        text = text.replace(usual, str(real))
    assert accepted(text, tmp_path) == ""
    # The same by options; another certificate for routes.
    own = ("--tls-cert", str(pair.cert), "--tls-key", str(pair.key), "--tls-ca", str(ca))
    ran = await config(environ, "--tls", *own, "--cluster-tls-cert", "/routes.crt", *cluster)
    assert ran.out.count(f'cert_file: "{pair.cert}"') == 1
    assert ran.out.count('cert_file: "/routes.crt"') == 1


async def test_half_of_tls_is_refused(environ: dict[str, str]) -> None:
    ran = await config(environ, "--tls-cert", "/a.crt")
    assert ran.code == 1
    assert "--tls-cert and --tls-key" in ran.err
    ran = await config(environ, "--tls-ca", "/ca.crt")
    assert ran.code == 1
    assert "--cluster-tls-ca" in ran.err
    # An empty one is none, as compose has it for a variable that isn't set.
    ran = await config(environ, "--tls-cert=", "--tls-key=")
    assert ran.code == 0
    assert "tls" not in ran.out


async def test_accounts_only_is_included_elsewhere(environ: dict[str, str], tmp_path: Path) -> None:
    ran = await config(environ, "--accounts-only")
    (tmp_path / "accounts.conf").write_text(ran.out)
    assert "listen" not in ran.out
    text = (
        'include "accounts.conf"\nlisten: "127.0.0.1:4222"\n'
        f'resolver {{ type: full, dir: "{tmp_path}/accounts", interval: "5s" }}\n'
        f'jetstream {{ store_dir: "{tmp_path}/js", strict: true }}\n'
    )
    assert accepted(text, tmp_path) == ""
    whole = (await config(environ)).out
    assert all(line in whole for line in ran.out.splitlines())
