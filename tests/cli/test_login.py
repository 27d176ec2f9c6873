"""``authsvc login``, ``whoami``, ``logout`` and ``context``, against the real service."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from authsvc.claims import parse_creds
from tests.cli import invoking
from tests.cli.shell import Ran, authsvc
from tests.fixtures import forks
from tests.fixtures.authsvc import LiveService, access_token, live_service
from tests.fixtures.syftbox import SyftboxLogin, syftbox_login

ALICE = "alice@example.com"
KEYRING = "tests.fixtures.file_keyring.FileKeyring"


@pytest.fixture
def syftbox() -> Iterator[SyftboxLogin]:
    with syftbox_login() as server:
        yield server


class Person:
    """Somebody's home, and commands in it."""

    def __init__(self, service: LiveService, home: Path) -> None:
        self.service = service
        self.config = home / "config" / "authsvc"
        self.env = {
            "AUTHSVC_URL": service.url,
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_DATA_HOME": str(home / "data"),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        }

    async def __call__(self, *arguments: str, stdin: bytes = b"", **env: str) -> Ran:
        return Ran(*await invoking.piped(stdin, *arguments, **{**self.env, **env}))

    async def ok(self, *arguments: str, stdin: bytes = b"", **env: str) -> Ran:
        ran = await self(*arguments, stdin=stdin, **env)
        assert ran.code == 0, (arguments, ran)
        return ran

    def kept(self, context: str = "default") -> dict[str, Any]:
        return dict(json.loads((self.config / "secrets" / f"{context}.json").read_text()))

    def change(self, context: str = "default", **changes: Any) -> None:
        """What time would do to a login that is kept."""
        path = self.config / "logins" / f"{context}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
async def alice(tmp_path: Path, sqlite_url: str, syftbox: SyftboxLogin) -> AsyncIterator[Person]:
    own = {"syftbox_url": syftbox.url, "dev_login": True, "device_login": True}
    # What the service logs would stand in the output of the commands here.
    with capture_logs():
        async with live_service(tmp_path / "data", sqlite_url, **own) as service:
            yield Person(service, tmp_path / "home")


async def test_a_code_by_mail(alice: Person, syftbox: SyftboxLogin, tmp_path: Path) -> None:
    sent = await alice.ok("login", "--email", " Alice@Example.com", "--send-code")
    assert f"--email {ALICE} --code" in sent.out
    wrong = await alice("login", "--email", ALICE, "--code", "00")
    assert (wrong.code, "refuses the code" in wrong.err) == (3, True)
    creds = tmp_path / "alice.creds"
    code = syftbox.codes[ALICE]
    done = await alice.ok("login", "--email", ALICE, "--creds", str(creds), AUTHSVC_OTP_CODE=code)
    assert f"logged in as {ALICE}" in done.out
    assert f"files that only you can read, in {alice.config}" in done.out
    assert code not in done.out + done.err
    kept = alice.kept()
    assert kept["refresh_token"] in syftbox.refresh_tokens
    for folder in (alice.config, alice.config / "logins", alice.config / "secrets"):
        assert folder.stat().st_mode & 0o777 == 0o700
        for file in folder.iterdir():
            assert file.is_dir() or file.stat().st_mode & 0o777 == 0o600
    assert creds.stat().st_mode & 0o777 == 0o600
    assert parse_creds(creds.read_text()).key.seed == kept["seed"]
    me = await alice.ok("whoami", "--json")
    assert me.json["username"] == ALICE
    assert me.json["servers"] == [alice.service.nats_url]
    assert me.json["login_method"] == "syftbox"
    used = await alice("login", "--email", ALICE, "--code", code)
    assert used.code == 3
    # The same person keeps the credential; a .creds file is written anew, another file is not.
    await alice.ok("login", "--email", ALICE, "--send-code")
    again = await alice.ok(
        *("login", "--email", ALICE, "--creds", str(creds), "--json"),
        AUTHSVC_OTP_CODE=syftbox.codes[ALICE],
    )
    assert again.json["credential"] == me.json["credential"]
    assert again.json["creds"] == str(creds)


async def test_a_code_that_is_piped_in(alice: Person, syftbox: SyftboxLogin) -> None:
    """As a program would: the code comes once it was sent."""
    none = await alice("login", "--email", ALICE, "--code", "-")
    assert (none.code, "no code came" in none.err) == (3, True)
    assert syftbox.calls == ["/auth/otp/request"]
    assert (await alice("login")).code == 2
    assert (await alice("login", "--email", "nobody")).code == 2
    refused = await alice("login", "--email", "a@host")
    assert (refused.code, "no e-mail address" in refused.err) == (1, True)
    for refusal, code in (((429, "E_RATE_LIMITED"), 4), ((500, "E_AUTH_NOTIFICATION_FAILED"), 4)):
        syftbox.refusal = refusal
        assert (await alice("login", "--email", ALICE, "--send-code")).code == code
    gone = await alice("login", "--email", ALICE, "--syftbox-url", "http://127.0.0.1:1")
    assert (gone.code, "can't be reached" in gone.err) == (4, True)


async def test_other_proofs_and_several_logins(
    alice: Person, syftbox: SyftboxLogin, tmp_path: Path
) -> None:
    refresh = syftbox.pair(ALICE)["refreshToken"]
    await alice.ok("login", "--refresh-token-file", "-", stdin=refresh.encode() + b"\n")
    assert alice.kept()["refresh_token"] != refresh
    token = tmp_path / "token"
    token.write_text(access_token("bob@example.com"))
    bob = await alice.ok("login", "--context", "bob", "--token-file", str(token), "--json")
    assert bob.json["username"] == "bob@example.com"
    assert "access_token" not in alice.kept("bob")
    dev = ("--login-method", "dev", "--email", "carol@example.com")
    await alice.ok("login", "--context", "carol", *dev)
    assert (await alice.ok("whoami")).out.startswith("username      carol@example.com\n")
    assert "alice" in (await alice.ok("whoami", "--context", "default")).out
    assert "bob" in (await alice.ok("whoami", "--offline", AUTHSVC_CONTEXT="bob")).out
    await alice.ok("context", "use", "bob")
    assert (await alice("context", "use", "nobody")).code == 1
    assert (await alice("whoami", "--context", "../x")).code == 1
    listed = {
        it["context"]: it for it in (await alice.ok("context", "list", "--json")).json["items"]
    }
    assert [name for name, it in listed.items() if it["current"]] == ["bob"]
    both = await alice("login", "--code", "1", "--token-file", str(token))
    assert both.code == 2
    bad = await alice("login", "--token-file", "-", stdin=b"no token")
    assert bad.code == 3
    assert (await alice("login", "--token-file", str(tmp_path / "none"))).code == 3


async def test_another_persons_login_is_never_replaced_unasked(alice: Person) -> None:
    def dev(who: str) -> tuple[str, ...]:
        return ("login", "--login-method", "dev", "--email", who, "--json")

    people = (ALICE, "bob@example.com", "bob-example.com@x.org", ALICE, "bob@example.com")
    names = [(await alice.ok(*dev(who))).json["context"] for who in people]
    assert names == ["default", "bob-example.com", "bob-example.com-x.org", "default", names[1]]
    # It is the current one, and the others are as they were.
    assert "bob@example.com" in (await alice.ok("whoami")).out
    assert ALICE in (await alice.ok("whoami", "--context", "default")).out
    # Who names a context means it.
    named = await alice.ok(*dev("carol@example.com"), "--context", "default")
    assert named.json["context"] == "default"


async def test_a_login_goes_on_by_itself(alice: Person, syftbox: SyftboxLogin) -> None:
    refresh = syftbox.pair(ALICE)["refreshToken"]
    first = await alice.ok("login", "--refresh-token-file", "-", "--json", stdin=refresh.encode())
    alice.change(renew_after=0)
    renewed = await alice.ok("whoami", "--json")
    assert renewed.json["credential"] == first.json["credential"]
    now = json.loads((alice.config / "logins" / "default.json").read_text())
    assert now["renew_after"] > 0
    # A session that is over: by the access token, and when that has ended, by the refresh token.
    for life, calls in ((600, 1), (0, 2)):
        syftbox.life = life
        alice.change(renew_after=0, jwt="gone.gone.gone")
        path = alice.config / "secrets" / "default.json"
        if life == 0:
            old = access_token(ALICE, exp=1)
            path.write_text(json.dumps(alice.kept() | {"access_token": old}))
            syftbox.life = 600
        assert (await alice.ok("whoami", "--json")).json["username"] == ALICE
        assert syftbox.calls.count("/auth/refresh") == calls
    path.chmod(0o644)
    open_file = await alice("whoami")
    assert (open_file.code, f"chmod 600 {path}" in open_file.err) == (3, True)
    path.chmod(0o600)
    syftbox.refresh_tokens.clear()
    path.write_text(json.dumps(alice.kept() | {"access_token": old}))
    alice.change(renew_after=0, jwt="gone.gone.gone")
    ended = await alice("whoami")
    assert (ended.code, "log in again" in ended.err) == (3, True)


async def test_logout_revokes_and_forgets(alice: Person) -> None:
    nobody = await alice("whoami")
    assert (nobody.code, nobody.err) == (3, "authsvc: nobody is logged in: authsvc login\n")
    dev = ("login", "--login-method", "dev", "--email", ALICE)
    made = await alice.ok(*dev, "--json")
    tried = await alice.ok("logout", "--dry-run")
    assert tried.out == f"would revoke and forget {made.json['credential']} of {ALICE}\n"
    seed = alice.kept()["seed"]
    url = alice.service.url
    alice.change(url="http://127.0.0.1:1")
    away = await alice("logout")
    assert (away.code, "--forget" in away.err) == (4, True)
    alice.change(url=url)
    assert "is revoked" in (await alice.ok("logout")).out
    assert not list((alice.config / "secrets").iterdir())
    assert not list((alice.config / "logins").iterdir())
    assert (await alice("whoami")).code == 3
    listed = await alice.service.admin("GET", "/v1/admin/credentials")
    assert [it["state"] for it in listed.json()["items"]] == ["revoked"]
    # The nkey is dead; a login makes another one.
    again = await alice.ok(*dev, "--json")
    assert again.json["credential"] != made.json["credential"]
    assert alice.kept()["seed"] != seed
    assert "lives on to its end" in (await alice.ok("logout", "--forget")).out


async def test_a_terminal_that_somebody_lets_in(alice: Person) -> None:
    """As processes of their own: one waits while the other decides."""
    service = alice.service
    env = {**alice.env, "AUTHSVC_API_KEY": await service.api_key("credentials:issue")}
    asking = await asyncio.create_subprocess_exec(
        *forks.authsvc(),
        *("login", "--device", "--json"),
        env={**os.environ, **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert asking.stderr is not None
    line = (await asyncio.wait_for(asking.stderr.readline(), 30)).decode()
    found = re.fullmatch(r"go to (\S+) and enter ([A-Z]{4}-[A-Z]{4}) .*\n", line)
    assert found is not None, line
    assert found[1].startswith(service.url)
    approve = ("device", "approve", found[2], "--username", ALICE, "--yes")
    await alice.ok(*approve, AUTHSVC_API_KEY=env["AUTHSVC_API_KEY"])
    out, _ = await asyncio.wait_for(asking.communicate(), 30)
    assert (asking.returncode, json.loads(out)["username"]) == (0, ALICE)
    assert (await alice.ok("whoami", "--json")).json["login_method"] == "device"
    assert (await alice("login", "--device", "--email", ALICE)).code == 2


async def test_the_keyring_keeps_secrets_where_there_is_one(alice: Person, tmp_path: Path) -> None:
    """As processes of their own: keyring chooses its backend once."""
    file = tmp_path / "keyring.json"
    env = {
        **alice.env,
        "PYTHON_KEYRING_BACKEND": KEYRING,
        "TEST_KEYRING_FILE": str(file),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    dev = ("login", "--login-method", "dev", "--email", ALICE, "--json")
    made = await authsvc(*dev, env=env)
    assert made.json["kept_in"] == "keyring"
    (entry,) = json.loads(file.read_text()).values()
    seed = json.loads(entry)["seed"]
    assert not (alice.config / "secrets").exists()
    texts = [it.read_text() for it in alice.config.rglob("*") if it.is_file()]
    assert all(seed not in text for text in texts)
    assert ALICE in (await authsvc("whoami", env=env)).out
    lost = await alice("whoami")
    assert (lost.code, "keyring" in lost.err) == (3, True)
    none = await alice(*dev, "--keep", "keyring")
    assert (none.code, "no keyring" in none.err) == (1, True)
    locked = await authsvc(*dev, "--context", "b", env={**env, "TEST_KEYRING_LOCKED": "1"})
    assert (locked.json["kept_in"], "it is locked" in locked.err) == ("files", True)
    assert (await authsvc("logout", "--context", "default", env=env)).code == 0
    assert json.loads(file.read_text()) == {}
