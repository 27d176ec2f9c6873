"""``authsvc up`` for who never saw it: what it says, what to do next, and why it does not start."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from authsvc.cli import progress
from authsvc.server.settings import load
from authsvc.server.store import open_store
from tests.cli.invoking import authsvc
from tests.cli.test_up import FREE_PORTS, StartUp, start_up
from tests.fixtures import forks

__all__ = ["start_up"]


def next_commands(lines: list[str]) -> list[str]:
    """Those that are advised, without the reason."""
    first = next(number for number, line in enumerate(lines) if line.startswith("  next "))
    return [line[13:].partition("   # ")[0].strip() for line in lines[first : first + 3]]


def run(command: str, tmp_path: Path) -> tuple[int, str, str]:
    """Run a command as it was advised, in this process."""
    prefix = f"{sys.executable} -m authsvc "
    assert command.startswith(prefix)
    own = {
        "HOME": str(tmp_path / "home"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
    }
    return asyncio.run(authsvc(*shlex.split(command.removeprefix(prefix)), **own))


def test_what_comes_next_can_be_copied_and_run(start_up: StartUp, tmp_path: Path) -> None:
    up = start_up("--dev-login")
    commands = next_commands(up.lines)
    assert [re.search(r"authsvc (\w+ ?\w*)", it)[1] for it in commands] == [  # type: ignore[index]
        "login ", "rpc ping", "user create",
    ]  # fmt: skip
    for command in commands:
        done = run(command, tmp_path)
        assert done[0] == 0, (command, done)
    up.stop()
    again = start_up("--dev-login")
    at = again.lines.index("authsvc found its data")
    today = time.strftime("%Y-%m-%d", time.gmtime())
    found = re.fullmatch(
        r"  found +(\d+) users, operator O[A-Z2-7]{55}, since ([\d-]+)", again.lines[at + 1]
    )
    assert found is not None
    assert (int(found[1]), found[2] <= today) == (2, True)
    for command in next_commands(again.lines):
        assert run(command, tmp_path)[0] == 0, command


def test_without_a_login_method_it_says_how_to_get_one(start_up: StartUp) -> None:
    first, second, third = next_commands(start_up().lines)
    assert first.startswith("AUTHSVC_SYFTBOX_URL=")
    assert " up --dev-login " in second
    assert " user create " in third


def refused(data_dir: Path, *arguments: str, **env: str) -> str:
    """What a start that must fail says."""
    done = subprocess.run(
        [*forks.authsvc(), "up", "--data-dir", str(data_dir), *(arguments or FREE_PORTS)],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done
    assert "ready" not in done.stdout
    return done.stderr


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Where a service was set up once."""

    async def made(folder: Path) -> Path:
        async with open_store(load(data_dir=folder)):
            return folder

    return asyncio.run(made(tmp_path / "data"))


def change(statement: str) -> Callable[[Path], None]:
    def run(data_dir: Path) -> None:
        with closing(sqlite3.connect(data_dir / "authsvc.db")) as database:
            database.execute(statement)
            database.commit()

    return run


BROKEN = {
    "newer": ("UPDATE alembic_version SET version_num = '9999'", "newer authsvc.*start that"),
    "half": ("UPDATE alembic_version SET version_num = '0001'", "stopped halfway.*last backup"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_data_that_is_of_no_use(data_dir: Path, name: str) -> None:
    statement, said = BROKEN[name]
    change(statement)(data_dir)
    before = (data_dir / "authsvc.db").read_bytes()
    assert re.search(said, refused(data_dir), flags=re.DOTALL)
    assert (data_dir / "authsvc.db").read_bytes() == before


def test_settings_that_are_of_no_use(data_dir: Path) -> None:
    said = refused(data_dir, AUTHSVC_CREDENTIAL_TTL="soon", AUTHSVC_MASTER_KEY="secret-it-is")
    assert "AUTHSVC_CREDENTIAL_TTL" in said
    assert "secret-it-is" not in said
    assert "the master key is not the one" in refused(data_dir, AUTHSVC_MASTER_KEY="A" * 43)


def test_a_taken_port_names_its_option_and_its_holder(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for option, free in (("--port", "--nats-port"), ("--nats-port", "--port")):
            said = refused(tmp_path, free, "0", option, port)
            assert f" {option} (0 for any free one)" in said
            assert f"(pid {os.getpid()})" in said


def test_what_takes_long_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.step("quick", late=30):
        pass
    with progress.step("slow", late=0):
        deadline = time.monotonic() + 10
        said = ""
        while "slow" not in said:
            said += capsys.readouterr().out
            assert time.monotonic() < deadline
    assert said == "  ...        slow\n"


def test_it_names_itself_as_it_was_called(monkeypatch: pytest.MonkeyPatch) -> None:
    from authsvc.cli.program import called  # noqa: PLC0415

    for argv, expected in (
        ("/x/authsvc/__main__.py", f"{sys.executable} -m authsvc"),
        ("authsvc", "authsvc"),
        ("/elsewhere/bin/authsvc", "/elsewhere/bin/authsvc"),
    ):
        monkeypatch.setattr(sys, "argv", [argv])
        assert called() == expected
