"""Where credentials come from: files, keys, authsvc's answers, SyftBox's configuration."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from authsvc import jose
from authsvc.claims import format_creds
from authsvc.errors import InvalidInput, InvalidKey, Unavailable
from authsvc.nkey import KeyPair, Prefix
from authsvc.rpc import NotAuthenticated, PermissionDenied
from authsvc.rpc._session.credentials import (
    FileSource,
    Login,
    ServiceSource,
    usable_servers,
)
from authsvc.rpc._session.keys import load_key, signature
from authsvc.rpc.syftbox import load_config, source
from tests.fixtures.nats import Realm
from tests.test_client import CREDENTIAL, Answer, Server, problem, serving

REALM = Realm()


def test_a_key_file_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "user.nk"
    key = load_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_key(str(path)).public == key.public
    assert [child.name for child in path.parent.iterdir()] == ["user.nk"]
    path.chmod(0o644)
    with pytest.raises(InvalidInput, match="chmod 600"):
        load_key(path)


def test_a_key_file_is_read_where_none_could_be_made() -> None:
    key = KeyPair.generate(Prefix.USER)
    with tempfile.TemporaryFile() as file:  # 0600, and nobody makes files in its folder
        file.write(key.seed.encode())
        file.flush()
        assert load_key(f"/proc/self/fd/{file.fileno()}").public == key.public
    with pytest.raises(InvalidInput, match="can't be made"):
        load_key("/proc/self/fd/new.nk")


def test_a_key_that_many_make_at_once_is_one(tmp_path: Path) -> None:
    (tmp_path / f".0.nk.{os.getpid()}").touch()  # what a process left that died
    with ThreadPoolExecutor(8) as pool:
        for number in range(20):
            paths = [tmp_path / f"{number}.nk"] * 8
            assert len({key.public for key in pool.map(load_key, paths)}) == 1


def test_a_seed_that_is_wrong_is_no_file_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    key = KeyPair.generate(Prefix.USER)
    assert load_key(f" {key.seed}\n").public == key.public
    for wrong in (key.seed[:-1], key.seed[:-30] + "\n", key.seed + "A"):
        with pytest.raises(InvalidKey) as caught:
            load_key(wrong)
        assert wrong[:20] not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_keys_come_as_pairs_seeds_or_nothing(tmp_path: Path) -> None:
    key = KeyPair.generate(Prefix.USER)
    assert load_key(key) is key
    assert load_key(key.seed).public == key.public
    assert load_key(None).public != load_key(None).public
    with pytest.raises(InvalidKey) as caught:
        load_key(key.seed[:-1] + ("A" if key.seed[-1] != "A" else "B"))
    assert key.seed[:20] not in str(caught.value)
    with pytest.raises(InvalidKey):
        load_key(KeyPair.generate(Prefix.ACCOUNT).seed)
    path = tmp_path / "bad.nk"
    path.write_text("nothing")
    path.chmod(0o600)
    with pytest.raises(InvalidKey):
        load_key(path)
    (tmp_path / "folder.nk").mkdir(mode=0o700)
    with pytest.raises(InvalidInput):
        load_key(tmp_path / "folder.nk")


async def test_a_creds_file_is_read_again_when_it_ended(tmp_path: Path) -> None:
    creds = REALM.user_creds("alice@x.com")
    path = tmp_path / "alice.creds"
    path.write_text(format_creds(creds.jwt, creds.key))
    files = FileSource(path, ["nats://127.0.0.1:4222"])
    login = await files.obtain(None)
    assert (login.username, login.app) == ("alice@x.com", None)
    assert login.max_payload == 8 * 1024 * 1024
    assert creds.jwt not in repr(login)
    assert creds.key.seed not in repr(login)
    with pytest.raises(NotAuthenticated, match="ended"):
        await files.obtain(login)
    newer = REALM.user_creds("alice@x.com", app="chat", key=creds.key)
    path.write_text(format_creds(newer.jwt, newer.key))
    assert (await files.obtain(login)).app == "chat"
    path.write_text("nothing")
    with pytest.raises(NotAuthenticated):
        await files.obtain(login)


def test_a_jwt_of_another_key_is_refused() -> None:
    creds = REALM.user_creds("alice@x.com")
    with pytest.raises(InvalidInput):
        Login.from_jwt(creds.jwt, KeyPair.generate(Prefix.USER), [])


def test_servers_are_chosen_by_what_nats_py_can_use() -> None:
    servers = ["wss://h", "nats://h:4222", "tls://h:4222", "ws://h"]
    assert usable_servers(servers) == ["nats://h:4222", "tls://h:4222"]
    for useless in ([], ["http://h"]):
        with pytest.raises(NotAuthenticated, match="no NATS server"):
            usable_servers(useless)


@pytest.mark.parametrize("nonce", ["", "a" * 65, "a.b", "eyJ0eXAiOiJkcG9wK2p3dCJ9.e30", "a b", "ä"])
def test_nothing_but_a_nonce_is_signed(nonce: str) -> None:
    assert signature(KeyPair.generate(Prefix.USER), nonce) == b""


def test_a_nonce_is_signed() -> None:
    assert signature(KeyPair.generate(Prefix.USER), "Ab_-9" * 4)


def credential(key: KeyPair, **changes: Any) -> Answer:
    creds = REALM.user_creds("alice@x.com", key=key)
    content = CREDENTIAL | {"jwt": creds.jwt} | changes
    return 201, {}, json.dumps(content).encode()


async def test_the_service_is_asked_to_renew_and_then_to_log_in() -> None:
    key = KeyPair.generate(Prefix.USER)
    refuse_renewal = False

    def answer(_: int, handler: Any) -> Answer:
        if handler.path.endswith("/renew") and refuse_renewal:
            return problem(401, "unauthorized")
        return credential(key)

    tokens = iter(["first", "second"])

    async def token() -> str:
        return next(tokens)

    with serving(answer) as server:
        service = ServiceSource(server.url, token, key, method="dev")
        before = time.monotonic()
        login = await service.obtain(None)
        assert login.renew_at is not None
        assert before + 2400 <= login.renew_at <= time.monotonic() + 2400
        assert login.servers == ("nats://127.0.0.1:4222",)
        await service.obtain(login)
        refuse_renewal = True
        await service.obtain(login)
        paths = [path for _, path, _, _ in server.seen]
        assert paths == [
            "/v1/credentials",
            "/v1/credentials/renew",
            "/v1/credentials/renew",
            "/v1/credentials",
        ]
        shown = [seen["authorization"] for _, _, seen, _ in server.seen]
        assert shown[0] == "Bearer first"
        assert shown[3] == "Bearer second"
        await service.close()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, NotAuthenticated),
        (409, NotAuthenticated),
        (422, NotAuthenticated),
        (403, PermissionDenied),
        (429, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
async def test_refusals_are_told_apart(status: int, error: type[Exception]) -> None:
    key = KeyPair.generate(Prefix.USER)
    with serving(lambda *_: problem(status, "slug")) as server:
        service = ServiceSource(server.url, lambda: "the-token", key)
        with pytest.raises(error) as caught:
            await service.obtain(None)
        assert "the-token" not in str(caught.value)
        await service.close()


@pytest.mark.parametrize("token", ["", " \n", "a b", "a\r\nx: y", "gr\u00fc\u00dfe", None])
async def test_a_token_that_is_none_is_told_as_such(token: Any) -> None:
    with serving(lambda *_: problem(500, "never asked")) as server:
        for given in (token or "", lambda: token):
            service = ServiceSource(server.url, given, KeyPair.generate(Prefix.USER))
            with pytest.raises(NotAuthenticated, match="token") as caught:
                await service.obtain(None)
            assert not token or not token.strip() or token not in str(caught.value)
            await service.close()
        assert server.seen == []


async def test_a_token_is_stripped_and_servers_may_be_one_url() -> None:
    key = KeyPair.generate(Prefix.USER)
    with serving(lambda *_: credential(key)) as server:
        url = "nats://127.0.0.1:4222"
        service = ServiceSource(server.url, lambda: " the-token\n", key, servers=url)
        assert (await service.obtain(None)).servers == (url,)
        assert server.seen[0][2]["authorization"] == "Bearer the-token"
        await service.close()


async def test_a_token_callable_that_blocks_holds_nothing() -> None:
    release = threading.Event()
    service = ServiceSource(
        "http://127.0.0.1:1", lambda: str(release.wait(20)), KeyPair.generate(Prefix.USER)
    )
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(service.obtain(None), 0.05)
    blocked = [thread for thread in threading.enumerate() if thread.name == "authsvc.rpc"]
    assert [thread.daemon for thread in blocked] == [True]
    release.set()
    await asyncio.to_thread(blocked[0].join, 5)
    assert not blocked[0].is_alive()
    await service.close()


async def test_a_jwt_that_does_not_hold_is_refused() -> None:
    key = KeyPair.generate(Prefix.USER)
    with serving(lambda *_: credential(KeyPair.generate(Prefix.USER))) as server:
        service = ServiceSource(server.url, "the-token", key)
        with pytest.raises(NotAuthenticated, match="does not hold"):
            await service.obtain(None)
        await service.close()


def config(home: Path, place: str = ".syftbox", **changes: Any) -> Path:
    path = home / place / "config.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {
        "email": "alice@x.com",
        "server_url": "https://syftbox.example/",
        "refresh_token": "the-refresh-token",
        "unknown": 1,
    }
    path.write_text(json.dumps(data | changes))
    return path


def test_syftbox_configuration_is_found_where_syftbox_puts_it(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path)}
    with pytest.raises(NotAuthenticated, match="no SyftBox configuration"):
        load_config(env)
    second = config(tmp_path, ".config/syftbox", email="second@x.com")
    assert load_config(env).email == "second@x.com"
    config(tmp_path)
    found = load_config(env)
    assert (found.email, found.authsvc_url) == ("alice@x.com", "https://syftbox.example")
    assert "the-refresh-token" not in repr(found)
    for name in ("SYFTBOX_CLIENT_CONFIG_PATH", "SYFTBOX_CONFIG_PATH"):
        assert load_config(env | {name: str(second)}).email == "second@x.com"
        with pytest.raises(NotAuthenticated, match="does not exist"):
            load_config(env | {name: str(tmp_path / "no.json")})
    changed = load_config(
        env
        | {
            "SYFTBOX_EMAIL": "env@x.com",
            "SYFTBOX_SERVER_URL": "http://localhost:8080",
            "SYFTBOX_ACCESS_TOKEN": "a.b.c",
            "SYFTBOX_NATS_URL": "nats://n:4222, wss://n",
        }
    )
    assert (changed.email, changed.access_token) == ("env@x.com", "a.b.c")
    assert changed.authsvc_url == "http://127.0.0.1:8080"
    assert changed.nats_urls == ("nats://n:4222", "wss://n")
    assert (found.nats_fallback, changed.nats_fallback) == (
        ("tls://syftbox.example:4222",),
        ("nats://127.0.0.1:4222",),
    )
    explicit = load_config(env | {"SYFTBOX_AUTHSVC_URL": "https://auth.example/"})
    assert explicit.authsvc_url == "https://auth.example"


@pytest.mark.parametrize("content", ["", "[]", "{", "\ufffd", "[" * 100_000])
def test_a_broken_configuration_is_told(tmp_path: Path, content: str) -> None:
    config(tmp_path).write_text(content)
    with pytest.raises(NotAuthenticated, match=r"config\.json"):
        load_config({"HOME": str(tmp_path)})
    config(tmp_path, refresh_token=None)
    with pytest.raises(NotAuthenticated, match="no token"):
        load_config({"HOME": str(tmp_path)})


@pytest.mark.parametrize("url", ["http://[::1", "nonsense", "ftp://h", "https://", 5])
def test_a_server_url_that_is_none_is_told(tmp_path: Path, url: object) -> None:
    config(tmp_path, server_url=url)
    with pytest.raises(NotAuthenticated, match="server_url"):
        load_config({"HOME": str(tmp_path)})


def access_token(exp: float) -> str:
    parts = [jose.b64encode(jose.dumps(part)) for part in ({"alg": "HS256"}, {"exp": exp})]
    return ".".join([*parts, jose.b64encode(b"signature")])


async def test_the_refresh_token_is_exchanged_when_it_must_be(tmp_path: Path) -> None:
    key_path = tmp_path / ".syftbox" / "authsvc.nk"

    def answer(_: int, handler: Any) -> Answer:
        if handler.path == "/auth/refresh":
            tokens = {"accessToken": access_token(time.time() + 3600), "refreshToken": "new"}
            return 200, {}, json.dumps(tokens).encode()
        return credential(load_key(key_path))

    with serving(answer) as server:
        config(tmp_path, server_url=server.url)
        env = {"HOME": str(tmp_path), "SYFTBOX_AUTHSVC_URL": server.url}
        syft = source(environment=env)
        assert stat.S_IMODE(key_path.stat().st_mode) == 0o600
        login = await syft.obtain(None)
        await syft.obtain(None)
        assert login.username == "alice@x.com"
        paths = [path for _, path, _, _ in server.seen]
        assert paths == ["/auth/refresh", "/v1/credentials", "/v1/credentials"]
        assert json.loads(server.seen[0][3]) == {"refreshToken": "the-refresh-token"}
        await syft.close()
        # An access token that is there and lives is used; one that ends is exchanged.
        for lifetime, asked in ((3600, 0), (10, 1)):
            server.seen.clear()
            token = access_token(time.time() + lifetime)
            syft = source(environment=env | {"SYFTBOX_ACCESS_TOKEN": token})
            await syft.obtain(None)
            assert [path for _, path, _, _ in server.seen].count("/auth/refresh") == asked
            await syft.close()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((401, {}, b"{}"), NotAuthenticated),
        ((200, {}, b"{}"), NotAuthenticated),
        ((200, {}, b"x"), NotAuthenticated),
        ((302, {"location": "http://127.0.0.1:1/"}, b""), NotAuthenticated),
        ((429, {}, b""), Unavailable),
        ((500, {}, b""), Unavailable),
    ],
)
async def test_a_refresh_that_fails_is_told(
    tmp_path: Path, answer: Answer, error: type[Exception]
) -> None:
    with serving(lambda *_: answer) as server:
        assert isinstance(server, Server)
        config(tmp_path, server_url=server.url)
        syft = source(environment={"HOME": str(tmp_path), "SYFTBOX_AUTHSVC_URL": server.url})
        with pytest.raises(error) as caught:
            await syft.obtain(None)
        assert "the-refresh-token" not in str(caught.value)
        await syft.close()
