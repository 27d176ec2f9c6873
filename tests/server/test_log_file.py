"""A log file of bounded size: what is kept, by whom it may be read, what happens where it can't."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from authsvc.server import log_file
from authsvc.server.log_file import LogFile
from tests.cli.test_up import FREE_PORTS, Up, eventually

LINE = b"x" * 99 + b"\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log" / "authsvc.log"


@pytest.fixture
def file(path: Path) -> Iterator[LogFile]:
    """Ten lines in each, and two older ones."""
    made = LogFile(path, max_bytes=1000, older=2)
    yield made
    made.close()


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


def test_full_files_are_kept_and_the_oldest_goes(file: LogFile, path: Path) -> None:
    for number in range(45):
        file.write(b"%099d\n" % number)
    found = {it.name: it.read_bytes() for it in path.parent.iterdir()}
    assert sorted(found) == ["authsvc.log", "authsvc.log.1", "authsvc.log.2"]
    assert [int(line) for line in found["authsvc.log.2"].split()] == list(range(20, 30))
    assert [int(line) for line in found["authsvc.log.1"].split()] == list(range(30, 40))
    assert [int(line) for line in found["authsvc.log"].split()] == list(range(40, 45))


def test_only_the_owner_may_read_any_of_them(file: LogFile, path: Path) -> None:
    for _ in range(25):
        file.write(LINE)
    assert {it.stat().st_mode & 0o777 for it in path.parent.iterdir()} == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_what_is_written_at_once_stays_together(file: LogFile, path: Path) -> None:
    file.write(LINE * 8)
    file.write(LINE * 30)
    file.write(LINE)
    older = path.with_name("authsvc.log.1"), path.with_name("authsvc.log.2")
    assert [lines(it) for it in (path, *older)] == [1, 30, 8]


def test_what_an_earlier_run_wrote_counts(file: LogFile, path: Path) -> None:
    file.write(LINE * 9)
    file.close()
    again = LogFile(path, max_bytes=1000, older=2)
    again.write(LINE * 2)
    again.close()
    assert (lines(path), lines(path.with_name("authsvc.log.1"))) == (2, 9)


def test_a_file_that_another_program_cuts_goes_on(file: LogFile, path: Path) -> None:
    """As logrotate's copytruncate does."""
    file.write(LINE * 9)
    os.truncate(path, 0)
    file.write(LINE * 2)
    assert [it.name for it in path.parent.iterdir()] == ["authsvc.log"]
    file.write(LINE * 9)
    assert (lines(path), lines(path.with_name("authsvc.log.1"))) == (9, 2)


def test_a_device_is_not_renamed(path: Path) -> None:
    path.parent.mkdir()
    path.symlink_to(os.devnull)
    file = LogFile(path, max_bytes=1000)
    for _ in range(30):
        file.write(LINE)
    file.close()
    assert str(path.readlink()) == os.devnull
    assert list(path.parent.iterdir()) == [path]


def test_no_line_is_lost_where_no_other_file_can_be_opened(
    file: LogFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path) -> None:
        raise OSError("too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(log_file, "_opened", refuse)
        for _ in range(18):
            file.write(LINE)
    first = path.with_name("authsvc.log.1")
    assert lines(first) == 18
    for _ in range(5):
        file.write(LINE)
    assert sum(map(lines, path.parent.iterdir())) == 23
    assert path.exists()


def test_threads_take_turns(file: LogFile, path: Path) -> None:
    def write() -> None:
        for _ in range(200):
            file.write(LINE)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    files = list(path.parent.iterdir())
    assert len(files) == 3
    assert all(it.stat().st_size % len(LINE) == 0 for it in files)
    assert lines(path.with_name("authsvc.log.1")) == lines(path.with_name("authsvc.log.2")) == 10


def test_the_logs_of_up_are_bounded(tmp_path: Path) -> None:
    up = Up(*("--data-dir", str(tmp_path), *FREE_PORTS), env={"AUTHSVC_LOG_MAX_BYTES": "65536"})
    log = tmp_path / "log"
    try:
        with httpx.Client(base_url=up.url) as http:
            for count in (20, 40, 60):
                for number in range(20):
                    assert http.get(f"/{number}/{'x' * 2000}").status_code == 404
                # Lines are written some at a time: fewer than a file takes.
                eventually(partial(_asked, log, count))
    finally:
        assert up.stop() == 0
    own = list(log.glob("authsvc.log*"))
    assert len(own) > 1
    assert all(it.stat().st_size <= 65536 and it.stat().st_mode & 0o777 == 0o600 for it in own)
    config = (tmp_path / "nats" / "nats-server.conf").read_text()
    assert re.search(r"logfile_size_limit\W+65536\b", config)


def _asked(log: Path, count: int) -> bool:
    """Whether so many requests stand in it."""
    files = log.glob("authsvc.log*")
    return sum(it.read_text().count('"event":"request"') for it in files) == count
