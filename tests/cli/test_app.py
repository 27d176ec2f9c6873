"""``authsvc app`` and ``authsvc rpc`` by a login that is kept, and ``app`` by a token."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.cli.invoking import authsvc
from tests.fixtures.authsvc import access_token, live_service

ALICE, BOB = "alice@example.com", "bob@example.com"


@pytest.fixture
async def env(tmp_path: Path, sqlite_url: str) -> AsyncIterator[dict[str, str]]:
    """In which alice is logged in."""
    with capture_logs():
        async with live_service(tmp_path / "data", sqlite_url, dev_login=True) as service:
            own = {
                "AUTHSVC_URL": service.url,
                "AUTHSVC_API_KEY": await service.api_key("admin"),
                "HOME": str(tmp_path),
                "XDG_CONFIG_HOME": str(tmp_path / "config"),
                "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
            }
            await told(own, "login", "--login-method", "dev", "--email", ALICE)
            yield own


async def told(env: dict[str, str], *arguments: str) -> Any:
    """What a command answers as JSON."""
    code, out, err = await authsvc(*arguments, "--json", **env)
    assert code == 0, (arguments, err)
    return json.loads(out)


async def test_apps(env: dict[str, str]) -> None:
    tried = await told(env, "app", "register", "chat", "--dry-run")
    assert tried == {"dry_run": True, "would": "register", "about": "chat"}
    assert (await told(env, "app", "list"))["items"] == []
    made = await told(env, "app", "register", "chat")
    assert (made["offline"], made["propagation"]["state"]) == (True, "applied")
    code, out, _ = await authsvc("app", "register", "chat", "--live", **env)
    assert (code, out.splitlines()[0]) == (0, "chat is registered: it is called live only")
    (item,) = (await told(env, "app", "list"))["items"]
    assert (item["name"], item["offline"]) == ("chat", False)
    assert (await told(env, "app", "dead-letters", "chat"))["items"] == []
    assert (await authsvc("app", "requeue", "chat", "dlt_none", **env))[0] == 1
    code, out, _ = await authsvc("app", "list", **env)
    assert (code, "chat" in out) == (0, True)
    code, _, err = await authsvc("app", "remove", "chat", **env)
    assert (code, "--yes" in err) == (3, True)
    assert (await told(env, "app", "remove", "chat", "--yes"))["name"] == "chat"
    assert (await told(env, "app", "list"))["items"] == []


async def test_apps_of_another_by_a_token(env: dict[str, str]) -> None:
    await told(env, "app", "register", "chat")
    bob = {**env, "AUTHSVC_TOKEN": access_token(BOB)}
    (item,) = (await told(bob, "app", "list", ALICE))["items"]
    assert item["name"] == "chat"
    assert (await told(bob, "app", "list"))["items"] == []
    # A context that is named goes before a token of the environment.
    assert len((await told(bob, "app", "list", "--context", "default"))["items"]) == 1
    assert (await authsvc("app", "list", **{**env, "AUTHSVC_TOKEN": "no token"}))[0] == 3
    assert (await authsvc("app", "list", "--context", "other", **env))[0] == 3


async def test_calls_are_made_by_the_login(env: dict[str, str]) -> None:
    cells = (await told(env, "rpc", "ping", "--matrix"))["cells"]
    assert len(cells) == 4
    assert [cell["error"] for cell in cells] == [None] * 4
    code, _, err = await authsvc("rpc", "call", f"{BOB}/none", "/x", **env)
    assert (code, "nobody" in err.lower()) == (4, True)
    listed = (await told(env, "credential", "list"))["items"]
    assert {it["username"] for it in listed} == {ALICE}
    assert len(listed) == 1
    # Whoever set SyftBox's variables means that person.
    other = {**env, "SYFTBOX_CLIENT_CONFIG_PATH": "/nowhere/config.json"}
    code, _, err = await authsvc("rpc", "call", f"{BOB}/none", "/x", **other)
    assert (code, "SyftBox" in err) == (3, True)
    # What superseded the JWT is learnt before it is used.
    path = Path(env["XDG_CONFIG_HOME"]) / "authsvc" / "logins" / "default.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "had_at": 0}))
    gone = await authsvc("credential", "revoke", listed[0]["id"], "--yes", **env)
    assert gone[0] == 0
    code, _, err = await authsvc("rpc", "call", f"{BOB}/none", "/x", **env)
    assert (code, "log in again" in err) == (3, True), err
