"""What others choose comes into the log as a text in one line, in colours of nobody's choice."""

from __future__ import annotations

import io
import json
import logging
import re
from pathlib import Path

import pytest
import structlog

from authsvc.nkey import KeyPair, Prefix
from authsvc.server import api_keys, logs
from tests.fixtures.authsvc import access_token, live_service

HOSTILE = [
    "a\r\n2026-01-01 [info     ] forged",
    "\x1b[2J\x1b]0;title\x07",
    "\x9b31m",
    "left\u202eright",
    "one\u2028two",
    "nul\0",
    "\u2066mark\u2069",
]


def console(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    logs.configure("console")
    return stream


@pytest.mark.usefixtures("own_logging")
def test_a_terminal_obeys_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = console(monkeypatch)
    log = structlog.get_logger("test")
    for text in HOSTILE:
        log.warning("refused", reason=text, path=f"/{text}")
        logging.getLogger("library").warning("%s", text)
        try:
            raise ValueError(text)
        except ValueError:
            log.exception("failed")
    written = stream.getvalue()
    assert "\\u202e" in written
    # Colours are ours; nothing else is left that a terminal would obey.
    lines = re.sub(r"\x1b\[[0-9;]*m", "", written).split("\n")
    assert [line for line in lines if not line.isprintable()] == []
    assert sum(line.startswith("20") for line in lines) == 3 * len(HOSTILE)


@pytest.mark.usefixtures("own_logging")
def test_no_secret_is_shown_on_a_terminal_either(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = console(monkeypatch)
    key, _ = api_keys.make("x", [], 1)
    link = "once_" + "A" * 43
    secrets = [key, access_token("a@x.com"), KeyPair.generate(Prefix.USER).seed, link]
    log = structlog.get_logger("test")
    for secret in secrets:
        log.warning(
            "here", value=secret, deep={"a": [secret]}, made=ValueError(secret), pair=(1, 2)
        )
        try:
            raise ValueError(secret)
        except ValueError:
            log.exception("failed")
    assert [secret for secret in secrets if secret in stream.getvalue()] == []
    assert stream.getvalue().count("[redacted]") >= 4 * len(secrets)


@pytest.mark.usefixtures("own_logging")
async def test_requests_forge_no_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log" / "authsvc.log"
    logs.configure("json", file=log)
    url = f"sqlite+aiosqlite:///{tmp_path}/authsvc.db"
    async with live_service(tmp_path / "data", url) as service:
        token = access_token("alice@example.com")
        paths = ["%0d%0aforged", "%1b%5b2J", "%00", "%C2%9b31m", "%E2%80%AE", f"x{token}"]
        for path in paths:
            for start in ("/v1/", "/console/", "/v1/admin/users/", "/jwt/v1/accounts/"):
                answer = await service.http.get(
                    f"{start}{path}", headers={"X-Request-Id": "x" * 70}
                )
                assert answer.status_code < 500
                assert answer.headers["x-request-id"] != "x" * 70
    lines = log.read_bytes().splitlines()
    found = [json.loads(line) for line in lines]
    assert sum(line["event"] == "request" for line in found) >= len(paths) * 4
    assert not any(b"\x1b" in line or b"\0" in line for line in lines)
    assert token.encode() not in log.read_bytes()
    out, err = capfd.readouterr()
    assert "\x1b[2J" not in out + err
    assert token not in out + err
