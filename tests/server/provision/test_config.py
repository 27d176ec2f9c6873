"""The configuration text, read by the real nats-server."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authsvc.errors import StartRefused
from authsvc.server.provision.binary import find_nats_server
from authsvc.server.provision.conf_format import render
from authsvc.server.provision.config import (
    Cluster,
    JetStream,
    Listen,
    Log,
    Tls,
    WebSocket,
    is_loopback,
    operator_config,
)
from tests.fixtures.nats import Realm

REALM = Realm()
SERVER = find_nats_server().path
ANY = "0.0.0.0"  # noqa: S104  where strangers can reach it


def text(folder: str = "/tmp/x", **options: Any) -> str:  # noqa: S108
    listen = options.pop("listen", Listen("127.0.0.1", 4222))
    defaults: dict[str, Any] = {
        "operator": REALM.operator_jwt,
        "system_account": REALM.system.public,
        "preload": REALM.preload(),
        "server_name": "n1",
        "data_dir": folder,
    }
    return operator_config(listen, **(defaults | options))


def check(config: str, folder: Path) -> str:
    """What nats-server says about the configuration; empty if it takes it."""
    path = folder / "checked.conf"
    path.write_text(config, encoding="utf-8", newline="")
    done = subprocess.run(
        [SERVER, "-t", "-c", path], capture_output=True, text=True, check=False, timeout=20
    )
    return "" if done.returncode == 0 else done.stderr + done.stdout


def test_nats_server_takes_the_plain_one(tmp_path: Path) -> None:
    assert check(text(str(tmp_path)), tmp_path) == ""


def test_nats_server_takes_everything_at_once(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    tls = Tls(str(certificate[0]), str(certificate[1]), str(certificate[0]), verify=True)
    config = text(
        str(tmp_path),
        listen=Listen("::1", 4222, tls, advertise="nats.example.com:4222"),
        websocket=WebSocket(ANY, 8443, tls, allowed_origins=["https://example.com"]),
        cluster=Cluster("c1", ANY, 6222, ["nats://b:6222", "nats://c:6222"], tls),
        monitor_port=8222,
        max_payload=1 << 20,
        jetstream=JetStream(
            max_memory=1 << 20, max_file=1 << 30, feature_flags={"js_ack_fc_v2": True}
        ),
        log=Log(str(tmp_path / "nats.log")),
        pid_file=str(tmp_path / "nats.pid"),
        ports_dir=str(tmp_path),
    )
    assert check(config, tmp_path) == ""


def test_nats_server_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    """So that the tests above can fail."""
    assert "unknown field" in check(text(str(tmp_path)) + render({"no_such_option": 1}), tmp_path)


def test_no_one_is_let_in_without_a_jwt() -> None:
    config = text(websocket=WebSocket("127.0.0.1", 8080))
    for option in ("no_auth_user", "authorization", "users", "accounts {", "allow_delete: true"):
        assert option not in config
    assert "allow_delete: false" in config
    assert "strict: true" in config


def test_the_same_input_makes_the_same_text() -> None:
    preload = REALM.preload()
    assert text(preload=preload) == text(preload=preload)


HARD = [
    "with space",
    'quo"te',
    "back\\slash",
    "$HOME",
    "per%20cent",
    "ünï",
    "#hash",
    "{a}",
    "tab\there",
    "1k",
    "'",
    "new\nline",
    "\x07",
    "true",
    "\\x41",
]


@pytest.mark.parametrize("name", HARD)
def test_a_path_arrives_as_it_is(tmp_path: Path, name: str) -> None:
    _path_arrives(tmp_path, name)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="/\x00"),
        min_size=1,
        max_size=40,
    ).filter(lambda name: name not in {".", ".."})
)
def test_any_path_arrives_as_it_is(tmp_path: Path, name: str) -> None:
    _path_arrives(tmp_path, name)


def _path_arrives(tmp_path: Path, name: str) -> None:
    # The account folder is made while the configuration is read: its name tells what was read.
    # nats-server cleans paths, so the odd name is in the middle.
    folder = tmp_path / name
    assert check(text(str(folder)), tmp_path) == ""
    assert (folder / "accounts").is_dir()


def test_a_null_character_is_refused() -> None:
    with pytest.raises(StartRefused, match="null character"):
        text("a\x00b")


@pytest.mark.parametrize("key", ["", "1a", "a b", "a:b", 'a"', "no-dash"])
def test_an_odd_option_name_is_refused(key: str) -> None:
    with pytest.raises(StartRefused, match="no name of an option"):
        render({key: 1})


def test_a_list_of_sections_is_refused() -> None:
    with pytest.raises(StartRefused, match="list of sections"):
        render({"a": [{"b": 1}]})


@pytest.mark.parametrize("name", ["", "with space", "line\nbreak", "\x00"])
def test_odd_names_are_refused(name: str) -> None:
    with pytest.raises(StartRefused, match="server name"):
        text(server_name=name)
    with pytest.raises(StartRefused, match="cluster name"):
        text(cluster=Cluster(name, "127.0.0.1", 6222, []))


def test_the_system_account_is_preloaded() -> None:
    with pytest.raises(StartRefused, match="preloaded"):
        text(preload={})


def test_a_websocket_off_loopback_needs_tls() -> None:
    with pytest.raises(StartRefused, match="needs TLS"):
        text(websocket=WebSocket(ANY, 8080))
    assert "no_tls: true" in text(websocket=WebSocket(ANY, 8080, tls_elsewhere=True))
    assert "no_tls" not in text(websocket=WebSocket(ANY, 8080, Tls("c", "k")))


def test_routes_off_loopback_need_verified_tls() -> None:
    for tls in (None, Tls("c", "k")):
        with pytest.raises(StartRefused, match="trusted wholly"):
            text(cluster=Cluster("c", ANY, 6222, [], tls))
    assert "routes" in text(cluster=Cluster("c", ANY, 6222, [], private_network=True))


def test_an_account_jwt_always_fits() -> None:
    assert "max_payload: 2097152" in text(max_payload=1024)
    assert "max_payload: 8388608" in text()


def test_monitoring_is_for_this_machine_alone() -> None:
    assert 'http: "127.0.0.1:8222"' in text(monitor_port=8222)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True),
     (ANY, False), ("::", False), ("10.0.0.1", False), ("example.com", False), ("", False)],
)  # fmt: skip
def test_loopback(host: str, *, loopback: bool) -> None:
    assert is_loopback(host) is loopback
