"""SyftBox's configuration in its older forms, and a refresh token that changes at each exchange."""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from authsvc.nkey import KeyPair, Prefix
from authsvc.rpc import AsyncClient, NotAuthenticated
from authsvc.rpc._session.keys import load_key
from authsvc.rpc.syftbox import load_config, source
from tests.fixtures import authsvc as whole
from tests.fixtures.authsvc import live_service
from tests.rpc.test_credentials import access_token, config, credential
from tests.test_client import Answer, Server, serving

KEY = KeyPair.generate(Prefix.USER)
ORIGIN = "the-refresh-token"


class SyftBox:
    """A SyftBox server that takes each refresh token once, and authsvc beside it."""

    def __init__(self) -> None:
        self.good = {ORIGIN}
        self.asked: list[str] = []
        self.url = ""

    def answer(self, _: int, handler: Any) -> Answer:
        if handler.path != "/auth/refresh":
            return credential(KEY)
        server: Server = handler.server
        token = json.loads(server.seen[-1][3])["refreshToken"]
        self.asked.append(token)
        if token not in self.good:
            return 401, {}, b"{}"
        self.good.remove(token)
        self.good.add(token + "+")
        tokens = {"accessToken": access_token(0), "refreshToken": token + "+"}
        return 200, {}, json.dumps(tokens).encode()

    async def login(self, home: Path, **env: str) -> None:
        """One program, from its start to its login."""
        known = {"HOME": str(home), "SYFTBOX_AUTHSVC_URL": self.url} | env
        syft = source(key=KEY, environment=known)
        try:
            await syft.obtain(None)
        finally:
            await syft.close()


@contextmanager
def syftbox() -> Iterator[SyftBox]:
    found = SyftBox()
    with serving(found.answer) as server:
        found.url = server.url
        yield found


async def test_nats_is_where_the_service_says_or_else_beside_syftbox(tmp_path: Path) -> None:
    servers = ["nats://n:4222"]
    env = {"HOME": str(tmp_path), "SYFTBOX_ACCESS_TOKEN": "a.b.c"}

    def answer(*_: object) -> Answer:
        return credential(load_key(tmp_path / ".syftbox" / "authsvc.nk"), servers=servers)

    with serving(answer) as server:
        config(tmp_path, server_url="https://syftbox.example")
        syft = source(environment=env | {"SYFTBOX_AUTHSVC_URL": server.url})
        assert (await syft.obtain(None)).servers == ("nats://n:4222",)
        servers = []
        assert (await syft.obtain(None)).servers == ("tls://syftbox.example:4222",)
        await syft.close()


async def test_a_refresh_token_that_changes_is_followed(tmp_path: Path) -> None:
    good = "the-refresh-token"
    key_path = tmp_path / ".syftbox" / "authsvc.nk"

    def answer(_: int, handler: Any) -> Answer:
        nonlocal good
        if handler.path != "/auth/refresh":
            return credential(load_key(key_path))
        if json.loads(handler.server.seen[-1][3])["refreshToken"] != good:
            return 401, {}, b"{}"
        good += "+"
        # Ends soon, so that each login asks for the next.
        tokens = {"accessToken": access_token(0), "refreshToken": good}
        return 200, {}, json.dumps(tokens).encode()

    with serving(answer) as server:
        config(tmp_path, server_url=server.url)
        syft = source(environment={"HOME": str(tmp_path), "SYFTBOX_AUTHSVC_URL": server.url})
        await syft.obtain(None)
        await syft.obtain(None)
        assert good == "the-refresh-token++"
        # SyftBox's own client exchanged it and wrote the next one into its file.
        good = "from the file"
        with pytest.raises(NotAuthenticated):
            await syft.obtain(None)
        config(tmp_path, server_url=server.url, refresh_token=good)
        await syft.obtain(None)
        assert good == "from the file+"
        await syft.close()


async def test_what_follows_is_kept_for_the_next_start(tmp_path: Path) -> None:
    with syftbox() as syft:
        theirs = config(tmp_path, server_url=syft.url)
        before = theirs.read_bytes()
        for _ in range(3):
            await syft.login(tmp_path)
        assert syft.asked == [ORIGIN, ORIGIN + "+", ORIGIN + "++"]
        assert theirs.read_bytes() == before
        ours = theirs.with_name("authsvc.json")
        assert stat.S_IMODE(ours.stat().st_mode) == 0o600
        assert ORIGIN not in ours.read_text().replace(ORIGIN + "+++", "")
        assert sorted(path.name for path in theirs.parent.iterdir()) == [ours.name, theirs.name]
        # A new login with SyftBox: the token in its file counts again.
        syft.good = {"new"}
        config(tmp_path, server_url=syft.url, refresh_token="new")
        await syft.login(tmp_path)
        assert syft.asked[3:] == ["new"]


async def test_programs_of_one_user_follow_each_other(tmp_path: Path) -> None:
    with syftbox() as syft:
        config(tmp_path, server_url=syft.url)
        env = {"HOME": str(tmp_path), "SYFTBOX_AUTHSVC_URL": syft.url}
        programs = [source(key=KEY, environment=env) for _ in range(3)]
        for _ in range(2):
            for program in programs:
                await program.obtain(None)
        assert len(syft.asked) == 6  # none was refused
        for program in programs:
            await program.close()


@pytest.mark.parametrize("spoilt", ["mode", "text", "list", "folder"])
async def test_a_state_file_that_is_none_of_ours_is_not_used(
    tmp_path: Path, spoilt: str, caplog: pytest.LogCaptureFixture
) -> None:
    with syftbox() as syft:
        config(tmp_path, server_url=syft.url)
        await syft.login(tmp_path)
        ours = tmp_path / ".syftbox" / "authsvc.json"
        if spoilt == "mode":
            ours.chmod(0o644)
        elif spoilt == "folder":
            ours.unlink()
            ours.mkdir()
        else:
            ours.write_text({"text": "{", "list": '{"refresh_tokens": [1]}'}[spoilt])
        syft.good.add(ORIGIN)
        with caplog.at_level(logging.WARNING, "authsvc.rpc"):
            await syft.login(tmp_path)
        assert syft.asked == [ORIGIN, ORIGIN]
        assert str(ours) in caplog.text
        assert ORIGIN not in caplog.text


async def test_a_file_that_cannot_be_written_is_told_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with syftbox() as syft:
        config(tmp_path, server_url=syft.url)
        (tmp_path / ".syftbox" / "authsvc.json").mkdir()
        env = {"HOME": str(tmp_path), "SYFTBOX_AUTHSVC_URL": syft.url}
        program = source(key=KEY, environment=env)
        await program.obtain(None)
        await program.obtain(None)
        await program.close()
        assert syft.asked == [ORIGIN, ORIGIN + "+"]
        assert "can't be kept" in caplog.text
        assert [
            path.name for path in (tmp_path / ".syftbox").iterdir() if ORIGIN in path.name
        ] == []


async def test_a_token_of_the_environment_never_gives_way_to_the_files(tmp_path: Path) -> None:
    with syftbox() as syft:
        config(tmp_path, server_url=syft.url)
        with pytest.raises(NotAuthenticated, match="log in with SyftBox"):
            await syft.login(tmp_path, SYFTBOX_REFRESH_TOKEN="another user's")
        assert syft.asked == ["another user's"]


async def test_the_environment_alone_is_enough(tmp_path: Path) -> None:
    with syftbox() as syft:
        env = {"SYFTBOX_SERVER_URL": syft.url, "SYFTBOX_REFRESH_TOKEN": ORIGIN}
        await syft.login(tmp_path, **env)
        await syft.login(tmp_path, **env)
        assert syft.asked == [ORIGIN, ORIGIN + "+"]
        found = load_config(env | {"HOME": str(tmp_path)})
        assert (found.path, found.key_path, found.email) == (None, None, "")


def test_every_variable_and_the_names_of_the_first_releases(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path)}
    path = config(tmp_path, email="Alice@X.com", sync_folder="/data", port=8082, server_url=None)
    path = path.rename(path.with_name("client_config.json"))
    old = load_config(env)
    assert (old.path, old.email, old.data_dir) == (path, "alice@x.com", Path("/data"))
    assert (old.client_url, old.server_url) == ("http://localhost:8082", "https://syftbox.net")
    assert load_config(env | {"SYFTBOX_CONFIG_PATH": str(path.with_name("config.json"))}) == old
    assert load_config({"HOME": "/nowhere"}, path=path) == old
    config(tmp_path, ".config/syftbox", email="later@x.com", data_dir="/d", client_token="secret")
    assert load_config(env).email == "later@x.com"  # config.json comes first, wherever it is
    assert "secret" not in repr(load_config(env))
    every = {
        "SYFTBOX_EMAIL": "Env@X.com",
        "SYFTBOX_SERVER_URL": "http://localhost:8090/",
        "SYFTBOX_DATA_DIR": "/env",
        "SYFTBOX_CLIENT_URL": "http://localhost:7938",
        "SYFTBOX_CLIENT_TOKEN": "c",
        "SYFTBOX_ACCESS_TOKEN": "a",
        "SYFTBOX_REFRESH_TOKEN": "r",
        "SYFTBOX_APP_ID": "org.app",
        "SYFTBOX_APP_DIR": "/apps/app",
        "SYFTBOX_APP_PORT": "8123",
    }
    found = load_config(env | every)
    assert (found.email, found.server_url) == ("env@x.com", "http://localhost:8090")
    assert (found.data_dir, found.client_url) == (Path("/env"), "http://localhost:7938")
    assert (found.client_token, found.access_token, found.refresh_token) == ("c", "a", "r")
    assert (found.app_id, found.app_dir, found.app_port) == ("org.app", Path("/apps/app"), 8123)
    assert found.key_path is None  # another user's than the file's
    assert load_config(env | {"SYFTBOX_PORT": "5"}).client_url == "http://localhost:5"


async def test_a_syftbox_for_development_logs_in_by_email_alone(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path)}
    config(tmp_path, server_url="http://127.0.0.1:8080", refresh_token="")
    database = f"sqlite+aiosqlite:///{tmp_path}/authsvc.db"
    async with live_service(tmp_path / "data", database, dev_login=True) as service:
        syft = source(environment=env | {"SYFTBOX_AUTHSVC_URL": service.url})
        assert (await syft.obtain(None)).username == "alice@x.com"
        await syft.close()
    with pytest.raises(NotAuthenticated, match="no token"):
        load_config(env | {"SYFTBOX_SERVER_URL": "https://syftbox.example"})


async def test_no_argument_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def answer(_: int, handler: Any) -> Answer:
        asked.append(json.loads(handler.server.seen[-1][3])["refreshToken"])
        tokens = {
            "accessToken": whole.access_token("alice@x.com"),
            "refreshToken": f"refresh {len(asked)}",
        }
        return 200, {}, json.dumps(tokens).encode()

    database = f"sqlite+aiosqlite:///{tmp_path}/authsvc.db"
    async with live_service(tmp_path / "data", database) as service:
        with serving(answer) as server:
            config(tmp_path, server_url=server.url)
            for name in [name for name in os.environ if name.startswith("SYFTBOX_")]:
                monkeypatch.delenv(name)
            monkeypatch.setenv("HOME", str(tmp_path))
            monkeypatch.setenv("SYFTBOX_AUTHSVC_URL", service.url)
            for _ in range(2):
                async with AsyncClient() as client:
                    assert client.username == "alice@x.com"
            assert asked == [ORIGIN, "refresh 1"]
