"""A real nats-server under the supervisor: started, killed, restarted, stopped, orphaned."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from authsvc.errors import PortTaken, StartRefused
from authsvc.server.provision import guard
from authsvc.server.provision.binary import find_nats_server
from authsvc.server.provision.config import Listen, Log, operator_config
from authsvc.server.provision.ports import Listener, choose_port
from authsvc.server.provision.supervisor import State, Supervisor
from tests.fixtures.nats import HOST, Realm

if TYPE_CHECKING:
    from collections.abc import Callable

SERVER = find_nats_server().path
WAYS = pytest.mark.parametrize("kernel", [True, False], ids=["kernel", "pipe"])
PARENT = """
import asyncio, sys
from pathlib import Path
from authsvc.server.provision.ports import Listener
from authsvc.server.provision.supervisor import Supervisor

async def main():
    folder, port, kernel = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "True"
    supervisor = Supervisor(
        Path(sys.argv[4]), folder / "nats.conf", data_dir=folder, log_path=folder / "nats.log",
        listeners=[Listener("NATS clients", "127.0.0.1", port)], kernel_guard=kernel,
    )
    await supervisor.start()
    print((folder / "nats-server.pid").read_text(), flush=True)
    await asyncio.sleep(600)

if sys.argv[5:] == ["uvloop"]:
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


def write_config(folder: Path, port: int, more: str = "") -> None:
    realm = Realm()
    text = operator_config(
        Listen(HOST, port),
        operator=realm.operator_jwt,
        system_account=realm.system.public,
        preload=realm.preload(),
        server_name="n1",
        data_dir=str(folder),
        log=Log(str(folder / "nats.log"), max_bytes=1 << 20),
    )
    (folder / "nats.conf").write_text(text + more)


def supervisor(folder: Path, port: int, *, binary: Path = SERVER, **options: Any) -> Supervisor:
    return Supervisor(
        binary,
        folder / "nats.conf",
        data_dir=folder,
        log_path=folder / "nats.log",
        listeners=[Listener("NATS clients", HOST, port)],
        **options,
    )


def greets(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=2) as probe:
            return probe.recv(5) == b"INFO "
    except OSError:
        return False


def server_pid(folder: Path) -> int:
    return int((folder / "nats-server.pid").read_text())


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def log_sizes(folder: Path) -> list[int]:
    return [path.stat().st_size for path in folder.glob("nats.log*")]


async def until(condition: Callable[[], bool], seconds: float = 40) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  what is polled has no event
            await asyncio.sleep(0.02)


def until_now(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@WAYS
async def test_it_runs_and_stops(tmp_path: Path, *, kernel: bool) -> None:
    port = choose_port(HOST)
    write_config(tmp_path, port)
    one = supervisor(tmp_path, port, kernel_guard=kernel)
    assert one.state == "stopped"
    assert one.pid is None
    await one.start()
    assert one.state == "running"
    assert greets(port)
    pid = server_pid(tmp_path)
    assert one.pid == pid or not kernel
    await one.start()  # nothing more happens
    assert server_pid(tmp_path) == pid
    await one.stop()
    assert one.state == "stopped"
    assert not alive(pid)
    assert not greets(port)
    assert "Server Exiting" in (tmp_path / "nats.log").read_text()
    await one.start()
    assert greets(port)
    await one.stop()


@WAYS
async def test_it_comes_back_on_the_same_port(tmp_path: Path, *, kernel: bool) -> None:
    port = choose_port(HOST)
    write_config(tmp_path, port)
    one = supervisor(tmp_path, port, kernel_guard=kernel)
    exits: list[int] = []
    one.on_exit.append(exits.append)
    await one.start()
    try:
        for count in (1, 2, 3):
            pid = server_pid(tmp_path)
            os.kill(pid, signal.SIGKILL)
            await until(lambda n=count: one.restarts == n and one.state is State.RUNNING)  # type: ignore[misc]
            assert greets(port)
            assert server_pid(tmp_path) != pid
        assert len(exits) == 3
    finally:
        await one.stop()


async def test_it_keeps_trying(tmp_path: Path) -> None:
    port = choose_port(HOST)
    write_config(tmp_path, port)
    one = supervisor(tmp_path, port)
    await one.start()
    try:
        good = (tmp_path / "nats.conf").read_text()
        (tmp_path / "nats.conf").write_text("nonsense: 1\n")
        os.kill(server_pid(tmp_path), signal.SIGKILL)
        await until(lambda: one.restarts >= 3)
        assert one.state is not State.RUNNING
        (tmp_path / "nats.conf").write_text(good)
        await until(lambda: one.state is State.RUNNING)
        assert greets(port)
    finally:
        await one.stop()


async def test_one_that_reads_many_streams_is_waited_for(tmp_path: Path) -> None:
    """It tells of each; here a script does so for longer than silence would be borne."""
    port = choose_port(HOST)
    write_config(tmp_path, port)
    slow = tmp_path / "slow"
    slow.write_text(
        "#!/bin/sh\n"
        f"for n in 1 2 3 4 5 6; do echo restored >> {tmp_path}/nats.log; sleep 0.5; done\n"
        f'exec {SERVER} "$@"\n'
    )
    slow.chmod(0o700)
    one = supervisor(tmp_path, port, ready_seconds=2, binary=slow)
    began = time.monotonic()
    await one.start()
    assert time.monotonic() - began > 3
    assert greets(port)
    await one.stop()


async def test_a_refused_configuration_is_shown(tmp_path: Path) -> None:
    port = choose_port(HOST)
    write_config(tmp_path, port, "no_such_option: 1\n")
    one = supervisor(tmp_path, port)
    with pytest.raises(StartRefused, match="ended at once") as caught:
        await one.start()
    assert 'unknown field "no_such_option"' in str(caught.value)
    assert one.state is State.STOPPED
    write_config(tmp_path, port)
    await one.start()  # nothing was left behind
    await one.stop()


async def test_what_looks_like_a_secret_is_not_shown(tmp_path: Path) -> None:
    seed = Realm().people.signing.seed
    port = choose_port(HOST)
    write_config(
        tmp_path, port, f'{seed}: 1\nleafnodes {{ remotes: [{{ url: "nats://u:pass@h:%" }}] }}\n'
    )
    with pytest.raises(StartRefused) as caught:
        await supervisor(tmp_path, port).start()
    assert "[hidden]" in str(caught.value)
    assert seed not in str(caught.value)
    assert "parsing" in str(caught.value)
    assert "pass@" not in str(caught.value)


async def test_one_that_never_answers_is_given_up(tmp_path: Path) -> None:
    script = tmp_path / "nats-server"
    script.write_text("#!/bin/sh\necho sleeping\nexec sleep 600\n")
    script.chmod(0o755)
    port = choose_port(HOST)
    one = Supervisor(
        script, tmp_path / "nats.conf", data_dir=tmp_path, log_path=tmp_path / "nats.log",
        listeners=[Listener("NATS clients", HOST, port)], ready_seconds=0.5,
    )  # fmt: skip
    with pytest.raises(StartRefused, match=r"(?s)does not answer on .*sleeping"):
        await one.start()
    assert one.pid is None


async def test_one_that_does_not_stop_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("authsvc.server.provision.supervisor._STOP_SECONDS", 0.3)
    port = choose_port(HOST)
    write_config(tmp_path, port)
    one = supervisor(tmp_path, port)
    await one.start()
    pid = server_pid(tmp_path)
    os.kill(pid, signal.SIGSTOP)
    await one.stop()
    assert not alive(pid)


async def test_a_taken_port_is_named_with_its_holder(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        write_config(tmp_path, port)
        with pytest.raises(PortTaken) as caught:
            await supervisor(tmp_path, port).start()
    text = str(caught.value)
    assert f"Port {port} on {HOST}, wanted for NATS clients" in text
    assert f"(pid {os.getpid()})" in text


async def test_two_supervisors_do_not_share_a_folder(tmp_path: Path) -> None:
    port = choose_port(HOST)
    write_config(tmp_path, port)
    one = supervisor(tmp_path, port)
    await one.start()
    pid = server_pid(tmp_path)
    try:
        with pytest.raises(StartRefused, match=rf"Another authsvc \(pid {os.getpid()}\)"):
            await supervisor(tmp_path, port).start()
        assert alive(pid)
    finally:
        await one.stop()


@WAYS
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_it_ends_with_a_parent_that_is_killed(tmp_path: Path, loop: str, *, kernel: bool) -> None:
    port = choose_port(HOST)
    write_config(tmp_path, port)
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, tmp_path, str(port), str(kernel), SERVER, loop],
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        assert greets(port)
        parent.kill()
    until_now(lambda: not alive(pid), 5)
    assert not greets(port)


def test_nothing_starts_for_a_parent_that_is_gone(tmp_path: Path) -> None:
    made = tmp_path / "made"
    command: list[str] = [
        sys.executable,
        "-I",
        "-S",
        guard.__file__,
        "kernel",
        "999999999",
        "/bin/touch",
        str(made),
    ]
    assert subprocess.run(command, check=False).returncode == 1
    assert not made.exists()
    command[5] = str(os.getpid())
    assert subprocess.run(command, check=False).returncode == 0
    assert made.exists()


async def test_it_runs_under_uvloop(tmp_path: Path) -> None:
    def run() -> list[str]:
        found: list[str] = []

        async def main() -> None:
            port = choose_port(HOST)
            write_config(tmp_path, port)
            one = supervisor(tmp_path, port)
            await one.start()
            os.kill(server_pid(tmp_path), signal.SIGKILL)
            await until(lambda: one.restarts == 1 and one.state is State.RUNNING)
            found.append("back" if greets(port) else "away")
            await one.stop()
            found.append(str(one.state))

        uvloop.run(main())
        return found

    assert await asyncio.to_thread(run) == ["back", "stopped"]


async def test_the_server_of_an_earlier_run_is_ended(tmp_path: Path) -> None:
    port = choose_port(HOST)
    write_config(tmp_path, port)
    orphan = subprocess.Popen(  # noqa: ASYNC220  it is not ours to wait for
        [SERVER, "-c", tmp_path / "nats.conf", "-P", tmp_path / "nats-server.pid"],
        stderr=subprocess.DEVNULL,
    )
    try:
        until_now(lambda: greets(port))
        one = supervisor(tmp_path, port)
        await one.start()
        assert orphan.poll() is not None or not alive(orphan.pid)
        assert server_pid(tmp_path) != orphan.pid
        await one.stop()
    finally:
        orphan.kill()
        orphan.wait()


async def test_the_log_is_rotated(tmp_path: Path) -> None:
    port = choose_port(HOST)
    write_config(tmp_path, port, "debug: true\n")
    text = (tmp_path / "nats.conf").read_text()
    (tmp_path / "nats.conf").write_text(
        text.replace("logfile_size_limit: 1048576", "logfile_size_limit: 20000")
    )
    one = supervisor(tmp_path, port)
    await one.start()
    try:
        for _ in range(400):
            await asyncio.to_thread(greets, port)
    finally:
        await one.stop()
    sizes = log_sizes(tmp_path)
    assert 1 < len(sizes) <= 4
    assert max(sizes) < 30000
