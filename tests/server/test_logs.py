"""Logging: JSON lines, and no secret in them."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from secrets import token_urlsafe

import pytest
import structlog

from authsvc.nkey import KeyPair, Prefix
from authsvc.server import api_keys, logs
from authsvc.server.log_file import LogFile
from authsvc.server.login import DEVICE_PREFIX, ENROLMENT_PREFIX
from tests.fixtures.authsvc import access_token


@pytest.fixture
def log_file(tmp_path: Path, own_logging: None) -> Path:
    path = tmp_path / "log.jsonl"
    logs.configure("json", file=path)
    return path


def test_secrets_are_taken_out(log_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    key, _ = api_keys.make("x", [], 1)
    own = [f"{prefix}{token_urlsafe(31)}-" for prefix in (ENROLMENT_PREFIX, DEVICE_PREFIX)]
    secrets = [key, access_token("a@x.com"), KeyPair.generate(Prefix.USER).seed, *own]
    log = structlog.get_logger("test")
    for secret in secrets:
        log.warning("here", value=f"it was {secret} all along")
        logging.getLogger("library").warning("leaks %s", secret)
        try:
            raise ValueError(secret)
        except ValueError:
            log.exception("failed")
    text = log_file.read_text() + capfd.readouterr().err
    assert text.count("[redacted]") >= 15
    for secret in secrets:
        assert secret not in text
    assert all(json.loads(line)["level"] for line in log_file.read_text().splitlines())


def test_a_file_takes_everything_and_is_private(log_file: Path) -> None:
    structlog.get_logger("test").info("hello", n=1)
    line = json.loads(log_file.read_text())
    assert (line["event"], line["n"], line["level"]) == ("hello", 1, "info")
    assert log_file.stat().st_mode & 0o777 == 0o600


async def test_request_lines_are_written_together(log_file: Path) -> None:
    log = logs.RequestLog()
    for number in range(3):
        log.add({"path": f"/{number}\n", "status": 200})
    assert log_file.read_text() == ""
    await asyncio.sleep(0.3)
    lines = [json.loads(line) for line in log_file.read_text().splitlines()]
    assert [line["path"] for line in lines] == ["/0\n", "/1\n", "/2\n"]
    assert all(line["event"] == "request" and line["timestamp"] for line in lines)


async def test_a_secret_in_a_path_is_taken_out(log_file: Path) -> None:
    log = logs.RequestLog()
    seed = KeyPair.generate(Prefix.USER).seed
    log.add({"path": f"/v1/credentials/{seed}", "status": 404})
    log.flush()
    assert seed not in log_file.read_text()
    assert "[redacted]" in log_file.read_text()


def test_a_full_disk_loses_lines_and_nothing_else(
    log_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = logs._Json.stream
    assert stream is not None
    with Path("/dev/full").open("wb", buffering=0) as full, monkeypatch.context() as patch:
        patch.setattr(stream, "_stream", full)
        structlog.get_logger("test").info("lost")
        logging.getLogger("library").info("lost")
    structlog.get_logger("test").info("kept")
    assert [json.loads(line)["event"] for line in log_file.read_text().splitlines()] == ["kept"]


def test_a_file_is_closed_by_the_next_and_by_the_end(log_file: Path) -> None:
    """Else Python warns of it when it is collected, which fails a test."""
    first = logs._Json.stream
    log = structlog.get_logger("test")
    log.info("first")
    logs.configure("json", file=log_file.with_name("second.jsonl"))
    log.info("lost, and nobody is told")
    structlog.get_logger("test").info("second")
    logs.close()
    logs.close()
    structlog.get_logger("test").info("lost")
    assert isinstance(first, LogFile)
    assert first._stream.closed
    assert b"second" in log_file.with_name("second.jsonl").read_bytes()
    assert log_file.read_bytes().count(b"\n") == 1


async def test_requests_are_kept_in_files_of_bounded_size(
    tmp_path: Path, own_logging: None
) -> None:
    path = tmp_path / "log.jsonl"
    logs.configure("json", file=path, max_bytes=2000)
    log = logs.RequestLog()
    for number in range(100):
        log.add({"path": f"/{number}", "status": 200})
        if number % 5 == 4:
            log.flush()
            structlog.get_logger("test").info("beside", number=number)
    files = [path.with_name(f"log.jsonl.{number}") for number in (3, 2, 1)] + [path]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    lines = [json.loads(line) for file in files for line in file.read_bytes().splitlines()]
    asked = [int(line["path"][1:]) for line in lines if line["event"] == "request"]
    assert asked == list(range(asked[0], 100))
    assert all(1000 < file.stat().st_size <= 2000 for file in files[:3])
