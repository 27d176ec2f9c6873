"""Hostile names through every route, the command line and the console: kept apart, or refused."""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import Callable, Coroutine
from urllib.parse import quote

import pytest

from authsvc import subjects
from authsvc.errors import InvalidName
from authsvc.nkey import KeyPair, Prefix
from tests.cli.invoking import authsvc
from tests.fixtures.authsvc import LiveService, access_token
from tests.security.names import HOSTILE
from tests.server.console.test_signing_in import present, somebody

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def canonical(name: str, *, email: bool = False) -> str | None:
    try:
        return subjects.username(name, email=email)
    except InvalidName:
        return None


def test_there_are_200_and_their_tokens_differ() -> None:
    assert len(HOSTILE) >= 200
    names = {found for name in HOSTILE if (found := canonical(name))}
    tokens = {subjects.token(name) for name in names}
    assert len(tokens) == len(names) > 80
    assert all(re.fullmatch(r"[A-Za-z0-9_\-@+%]+", token) for token in tokens)
    assert {subjects.untoken(token) for token in tokens} == names
    assert len(HOSTILE) - len([name for name in HOSTILE if canonical(name)]) > 40


@on_sqlite
async def test_at_every_route(service: LiveService) -> None:
    key = await service.api_key("admin")
    ids: dict[str, str] = {}
    await _several(lambda name: _logs_in(service, name), HOSTILE)
    lines = b"".join(
        json.dumps({"username": name, "kind": "service"}).encode() + b"\n" for name in HOSTILE
    )
    answer = await service.admin("POST", "/v1/admin/users:import", key=key, content=lines)
    results = [json.loads(line) for line in answer.text.splitlines()]
    assert len(results) == len(HOSTILE)
    for name, found in zip(HOSTILE, results, strict=True):
        wanted = canonical(name)
        if wanted is None or wanted.startswith("usr_"):  # which would be taken for an id
            assert found["status"] == "invalid", name
        else:
            assert found["status"] in {"created", "exists"}, name
            assert ids.setdefault(wanted, found["id"]) == found["id"]
    assert len(set(ids.values())) == len(ids)
    await _several(lambda name: _in_paths_and_bodies(service, key, name, ids), HOSTILE)


async def _several(ask: Callable[[str], Coroutine[None, None, None]], names: list[str]) -> None:
    """Some at a time, so that they need not wait one for another."""
    for start in range(0, len(names), 20):
        await asyncio.gather(*(ask(name) for name in names[start : start + 20]))


async def _logs_in(service: LiveService, name: str) -> None:
    wanted = canonical(name, email=True)
    answer = await service.login("eve", KeyPair.generate(Prefix.USER), access_token(name))
    assert answer.status_code == (422 if wanted is None else 201), (name, answer.text)
    if wanted is not None:
        assert answer.json()["username"] == wanted
        assert answer.json()["inbox_prefix"] == f"_INBOX.{subjects.token(wanted)}"


async def _in_paths_and_bodies(
    service: LiveService, key: str, name: str, ids: dict[str, str]
) -> None:
    wanted = canonical(name)
    answer = await service.admin("GET", f"/v1/admin/users/{quote(name, safe='')}", key=key)
    if wanted is None or not name or "/" in name or name in {".", ".."}:
        assert answer.status_code in {200, 404}, (name, answer.text)  # an empty one is the list
    elif name == wanted and wanted in ids:
        assert (answer.status_code, answer.json()["id"]) == (200, ids[wanted]), name
    body = {"username": name, "action": "publish", "subject": "requests.eve.bob.chat"}
    answer = await service.admin("POST", "/v1/admin/explain", key=key, json=body)
    assert answer.status_code in {200, 404, 422}, (name, answer.text)
    answer = await service.admin("GET", "/v1/admin/users", key=key, params={"search": name})
    assert answer.status_code in {200, 422}, (name, answer.text)


@on_sqlite
async def test_what_people_call_things(service: LiveService) -> None:
    """Names of credentials, keys and notes are shown to administrators, on terminals too."""
    key = await service.api_key("admin")
    marks = ["\0", "\x1b[2J", "\r\n", "\x85", "\x9b31m", "\u2028", "\u202e", "\u2066", "\u200f"]
    for mark in marks:
        text = f"lap{mark}top"
        answer = await service.login("eve@example.com", name=text)
        assert answer.status_code == 422, repr(mark)
        for path, body in (
            ("api-keys", {"name": text, "scopes": ["users:read"]}),
            ("enrolment-keys", {"username": "roof", "name": text}),
            ("grants", {"role": text, "publish": ["a.b"]}),
            ("grants", {"role": "r", "publish": ["a.b"], "note": text}),
            ("users", {"username": "u", "kind": "service", "roles": [text]}),
        ):
            answer = await service.admin("POST", f"/v1/admin/{path}", key=key, json=body)
            assert answer.status_code == 422, (path, body, answer.text)
            # Nor does the refusal repeat it.
            assert mark == "\r\n" or mark not in answer.text


@on_sqlite
async def test_in_the_console_and_on_the_command_line(service: LiveService) -> None:
    key = await service.api_key("admin")
    lines = b"".join(
        json.dumps({"username": name, "kind": "service"}).encode() + b"\n" for name in HOSTILE
    )
    await service.admin("POST", "/v1/admin/users:import", key=key, content=lines)
    names = sorted({found for name in HOSTILE if (found := canonical(name))})
    async with somebody(service) as client:
        await present(client, key)
        page = (await client.get("/console/users?limit=1000")).text
        shown = html.unescape(page)

        async def look(name: str) -> None:
            quoted = quote(name, safe="")
            for path in (f"/console/users/{quoted}", f"/console/users?search={quoted}"):
                answer = await client.get(path)
                assert answer.status_code in {200, 404}, (path, answer.status_code)
                found = answer.text
                assert "<b>x@" not in found
                assert "</script>x@" not in found
                assert '"><' not in re.sub(r"<[^>]*>", "", found)

        await _several(look, names[:80])
        assert "<b>x@" not in page
        assert "eve<b>x@example.com" in shown
    environ = {"AUTHSVC_URL": service.url, "AUTHSVC_API_KEY": key, "NO_COLOR": "1"}
    code, out, err = await authsvc("user", "list", **environ)
    assert code == 0, err
    # Other alphabets may be there; what moves a cursor or turns the writing round may not.
    assert [line for line in out.splitlines() if not line.isprintable()] == []
    for name in ("--help", "-v", "eve\x1b[2Jx@example.com", "eve\u202ex@example.com", "..", "a/b"):
        code, out, err = await authsvc("user", "show", "--", name, **environ)
        # The service is in this process, and its log is not the command's.
        told = [line for line in (out + err).split("\n") if not re.match(r"(\x1b\[2m)?20", line)]
        assert [line for line in told if not line.isprintable() or "Traceback" in line] == []
        assert code in {0, 1, 2, 3, 4}, (name, code, err)
