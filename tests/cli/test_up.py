"""``authsvc up`` as a process of its own: what a newcomer and a supervisor see."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fixtures import forks
from tests.fixtures.ports import free_port

FREE_PORTS = ["--port", "0", "--nats-port", "0"]
AUTHSVC = [sys.executable, "-m", "authsvc"]


class Up:
    """A running ``authsvc up``.

    Args:
        arguments: After ``up``.
        env: Beside this process's own environment.
        whole: Not forked: for who looks at the process itself.
    """

    def __init__(
        self, *arguments: str, env: dict[str, str] | None = None, whole: bool = False
    ) -> None:
        self.process = subprocess.Popen(
            [*(AUTHSVC if whole else forks.authsvc()), "up", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )
        self.lines: list[str] = []
        self.ready = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("ready "):
                self.ready = line.strip()
                break
        self.reader = threading.Thread(target=self._drain, daemon=True)
        self.reader.start()

    def _drain(self) -> None:
        assert self.process.stdout is not None
        self.lines += [line.rstrip("\n") for line in self.process.stdout]

    @property
    def url(self) -> str:
        return self.ready.split()[1]

    @property
    def nats_port(self) -> int:
        return int(self.ready.rpartition(":")[2])

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(20)
        self.reader.join(5)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return code


StartUp = Callable[..., Up]


@pytest.fixture
def start_up(tmp_path: Path) -> Iterator[StartUp]:
    started: list[Up] = []

    def start(*arguments: str, **how: Any) -> Up:
        base = ["--data-dir", str(tmp_path / "data"), *FREE_PORTS]
        started.append(Up(*base, *arguments, **how))
        return started[-1]

    yield start
    for up in started:
        if up.process.poll() is None:
            up.stop(signal.SIGKILL)


def nats_servers(data_dir: Path) -> list[int]:
    """The nats-servers that run with this data directory's configuration."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        first = command.split(b"\0")[0]
        if first.endswith(b"nats-server") and str(data_dir).encode() in command:
            found.append(int(folder.name))
    return found


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            return connection.recv(5) == b"INFO "
    except OSError:
        return False


def eventually(check: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_up_starts_everything_and_finds_its_data_again(start_up: StartUp, tmp_path: Path) -> None:
    up = start_up()
    context_path = tmp_path / "data" / "context.json"
    context = json.loads(context_path.read_text())
    assert context.keys() == {"url", "api_key", "nats_url"}
    assert context["url"] == up.url
    assert stat.S_IMODE(context_path.stat().st_mode) == 0o600
    assert httpx.get(f"{up.url}/healthz").status_code == 200
    assert httpx.get(f"{up.url}/readyz").status_code == 200
    discovery = httpx.get(f"{up.url}/.well-known/authsvc").json()
    assert discovery["servers"] == [context["nats_url"]]
    assert answers(up.nats_port)
    assert len(nats_servers(tmp_path / "data")) == 1
    assert up.stop() == 0
    assert nats_servers(tmp_path / "data") == []
    again = start_up()
    assert "authsvc found its data" in again.lines
    second = json.loads(context_path.read_text())
    assert second["api_key"] == context["api_key"]
    assert httpx.get(f"{again.url}/.well-known/authsvc").json()["operator"] == discovery["operator"]
    assert again.stop(signal.SIGINT) == 0


def test_nats_server_comes_back_on_its_port(start_up: StartUp, tmp_path: Path) -> None:
    up = start_up()
    (pid,) = nats_servers(tmp_path / "data")
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: nats_servers(tmp_path / "data") not in ([], [pid]))
    eventually(lambda: answers(up.nats_port))
    eventually(lambda: httpx.get(f"{up.url}/readyz").status_code == 200)
    assert len(nats_servers(tmp_path / "data")) == 1


def test_a_second_up_changes_nothing_and_nats_server_ends_with_the_first(
    start_up: StartUp, tmp_path: Path
) -> None:
    up = start_up(whole=True)
    # On the same port too: whose it is matters more than that it is taken.
    for port in ("0", up.url.rpartition(":")[2]):
        done = subprocess.run(
            [
                *(*forks.authsvc(), "up", "--data-dir", str(tmp_path / "data")),
                *("--port", port, "--nats-port", "0"),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert (done.returncode, "ready" in done.stdout) == (1, False)
        running = f"Another authsvc (pid {up.process.pid}) runs in {tmp_path / 'data'}"
        for said in (running, up.url, "--data-dir"):
            assert said in done.stderr
        assert "Traceback" not in done.stderr
    (pid,) = nats_servers(tmp_path / "data")
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: nats_servers(tmp_path / "data") not in ([], [pid]))
    eventually(lambda: answers(up.nats_port))
    assert len(nats_servers(tmp_path / "data")) == 1
    up.stop(signal.SIGKILL)
    eventually(lambda: nats_servers(tmp_path / "data") == [])
    assert start_up().ready


def test_taken_ports_are_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for option, other in (("--port", "--nats-port"), ("--nats-port", "--port")):
            done = subprocess.run(
                [
                    *forks.authsvc(),
                    "up",
                    "--data-dir",
                    str(tmp_path),
                    option,
                    str(port),
                    other,
                    "0",
                ],
                capture_output=True,
                text=True,
                check=False,
                timeout=30,
            )
            assert done.returncode == 1
            assert str(port) in done.stderr
            assert "taken" in done.stderr
            assert "Traceback" not in done.stderr


def test_wrong_master_key_stops_the_start(start_up: StartUp, tmp_path: Path) -> None:
    start_up().stop()
    (tmp_path / "data" / "master.key").unlink()
    done = subprocess.run(
        [*forks.authsvc(), "up", "--data-dir", str(tmp_path / "data"), *FREE_PORTS],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert "master.key is missing" in done.stderr
    assert "Traceback" not in done.stderr
    # No decoy that the right one would meet when it is put back.
    assert not (tmp_path / "data" / "master.key").exists()


def test_dev_login_is_refused_off_loopback(tmp_path: Path) -> None:
    command = [*forks.authsvc(), "up", "--data-dir", str(tmp_path), "--dev-login"]
    command += ["--host", "0.0.0.0"]  # noqa: S104 - it must be refused
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert "loopback" in done.stderr


def test_dev_login_is_loud(start_up: StartUp) -> None:
    up = start_up("--dev-login")
    assert any("WARNING" in line and "dev login" in line for line in up.lines)


def test_demo_says_what_happened(tmp_path: Path) -> None:
    started = time.monotonic()
    done = subprocess.run(
        [*forks.authsvc(), "up", "--demo", "--once", "--data-dir", str(tmp_path), *FREE_PORTS],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert time.monotonic() - started < 30
    assert len(re.findall(r"logged in", done.stdout)) == 3
    assert "'pong': 1" in done.stdout
    assert len(re.findall(r"nats-server refused", done.stdout)) == 2
    assert "\nready http" in done.stdout


def test_no_secret_in_logs_or_argv(start_up: StartUp, tmp_path: Path) -> None:
    secret = "not-for-nats-server-" + "x" * 32
    up = start_up("--demo", env={"AUTHSVC_SYFTBOX_ACCESS_TOKEN_SECRET": secret}, whole=True)
    (server,) = nats_servers(tmp_path / "data")
    assert secret not in Path(f"/proc/{server}/environ").read_text()
    key = json.loads((tmp_path / "data" / "context.json").read_text())["api_key"]
    pids = [up.process.pid, *nats_servers(tmp_path / "data")]
    argv = [Path(f"/proc/{pid}/cmdline").read_text() for pid in pids]
    time.sleep(0.5)
    up.stop()
    log_dir = tmp_path / "data" / "log"
    texts = [path.read_text() for path in log_dir.iterdir()] + argv + up.lines
    config = (tmp_path / "data" / "nats" / "nats-server.conf").read_text()
    assert texts
    for text in texts:
        assert not re.search(r"\bS[OAUN][A-Z2-7]{56}\b", text)
        assert not re.search(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+", text)
        assert key not in text
    assert not re.search(r"\bS[OAUN][A-Z2-7]{56}\b", config)


def test_serve_runs_against_the_nats_server_of_another(start_up: StartUp, tmp_path: Path) -> None:
    up = start_up()
    env = {
        **os.environ,
        "AUTHSVC_DATA_DIR": str(tmp_path / "data"),
        "AUTHSVC_NATS_URLS": f"nats://127.0.0.1:{up.nats_port}",
        "AUTHSVC_PORT": str(free_port()),
    }
    with subprocess.Popen(
        [*forks.authsvc(), "serve"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=env,
    ) as serve:
        assert serve.stdout is not None
        line = serve.stdout.readline()
        assert line.startswith("ready ")
        url = line.split()[1]
        eventually(lambda: httpx.get(f"{url}/readyz").status_code == 200)
        operator = httpx.get(f"{url}/.well-known/authsvc").json()["operator"]
        assert operator == httpx.get(f"{up.url}/.well-known/authsvc").json()["operator"]
        serve.terminate()
        assert serve.wait(20) == 0


def test_nats_config_holds_no_secret_and_is_accepted(tmp_path: Path) -> None:
    output = tmp_path / "operator.conf"
    command = [*forks.authsvc(), "nats", "config", "--data-dir", str(tmp_path / "d")]
    command += ["--output", str(output), "--store-dir", str(tmp_path / "nats")]
    command += ["--listen", "127.0.0.1:4222", "--ws-listen", "127.0.0.1:8081"]
    subprocess.run(command, check=True, timeout=30)
    text = output.read_text()
    assert "no_auth_user" not in text
    assert not re.search(r"\bS[OAUN][A-Z2-7]{56}\b", text)
    server = Path(sys.executable).parent / "nats-server"
    subprocess.run([server, "-t", "-c", output], check=True, capture_output=True, timeout=30)


@pytest.mark.parametrize("option", ["--port", "--nats-port", "--ws-port"])
def test_a_port_that_is_none_is_a_mistake_in_usage(option: str) -> None:
    done = subprocess.run(
        [*forks.authsvc(), "up", option, "65536"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_data_dir_that_cannot_be_made_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "data"
    done = subprocess.run(
        [*forks.authsvc(), "up", *FREE_PORTS, "--data-dir", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"authsvc: {folder}: Not a directory\n"


def test_all_addresses_are_reached_by_the_public_name(start_up: StartUp) -> None:
    env = {"AUTHSVC_PUBLIC_URL": "https://auth.example.org", "AUTHSVC_HOST": ""}
    host_port = str(free_port())
    up = start_up("--host", "0.0.0.0", "--port", host_port, "--ws-port", "0", env=env)  # noqa: S104
    port = next(line for line in up.lines if "NATS" in line).split("nats://")[1].split(":")[1]
    api = next(line for line in up.lines if "ready" in line)
    assert api.startswith("ready https://auth.example.org ")
    found = httpx.get(f"http://127.0.0.1:{host_port}/.well-known/authsvc").json()
    assert found["servers"] == [f"nats://auth.example.org:{port.split()[0]}"]


@pytest.mark.parametrize("text", ["127.0.0.1:²", "127.0.0.1:70000", "127.0.0.1", ":1"])
def test_an_address_that_is_none_is_said_in_a_line(text: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [*forks.authsvc(), "nats", "config", "--data-dir", str(tmp_path), "--listen", text],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "is no host:port" in done.stderr
    assert "Traceback" not in done.stderr
