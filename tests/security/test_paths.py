"""No name, and nothing in a URL, becomes a path to another file.

A backup holds no paths at all: rows of named tables and messages, see tests/server/backup.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from authsvc.cli.login_profile import Profiles
from authsvc.errors import InvalidInput
from authsvc.server.console.rendering import asset
from tests.fixtures.authsvc import LiveService
from tests.security.test_raw_http import exchange

UP = [
    "../app.py",
    "..%2fapp.py",
    "..%2f..%2fapp.py",
    "%2e%2e/app.py",
    "%2e%2e%2fapp.py",
    "..%5capp.py",
    "..\\app.py",
    "%252e%252e%252fapp.py",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "....//app.py",
    "console.css%00.py",
    "console.css/../../app.py",
    "..;/app.py",
    "%c0%ae%c0%ae/app.py",
    "file:%2f%2f%2fetc%2fpasswd",
]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_static_files_are_those_of_the_console(service: LiveService) -> None:
    for name in UP:
        request = f"GET /console/static/{name} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        answer = await exchange(service, request.encode())
        assert answer.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 400 ", b"HTTP/1.1 303 ")), name
        assert b"import" not in answer, name
        assert b"root:" not in answer, name
    for name in ("", ".", "..", *UP):
        assert asset(name) is None, name


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/b",
        "/etc/passwd",
        "..\\x",
        "a\0b",
        "a\nb",
        "",
        " ",
        "a" * 65,
        "~/x",
        "C:x",
        "%2e%2e/x",
    ],
)
def test_a_context_is_no_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profiles = Profiles(tmp_path / "config")
    monkeypatch.delenv("AUTHSVC_CONTEXT", raising=False)
    if name:
        with pytest.raises(InvalidInput):
            profiles.chosen(name)
    # Nor where it stands in the file that says which one is current.
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "current").write_text(name)
    assert profiles.chosen(None) == "default"


@pytest.mark.parametrize("name", [".", "..", "...", ".a"])
def test_dots_lead_nowhere_else(name: str, tmp_path: Path) -> None:
    profiles = Profiles(tmp_path)
    try:
        found = profiles._path(profiles.chosen(name))
    except InvalidInput:
        return
    assert found.parent == tmp_path / "logins"
    assert found.name.endswith(".json")
