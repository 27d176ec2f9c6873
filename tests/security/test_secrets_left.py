"""The main flows as processes of their own, and a search through all that they leave for secrets.

Looked through: logs, standard output and error, the arguments of every process, metrics, every
answer but the one that hands a secret over, the data directory, the database, a backup.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from authsvc import dpop
from authsvc.nkey import KeyPair, Prefix
from tests.cli.test_up import StartUp, Up, start_up
from tests.fixtures import forks
from tests.fixtures.authsvc import SECRET, access_token

__all__ = ["start_up"]  # the fixture

SHAPES = re.compile(
    rb"S[AOUNCX][A-Z2-7]{56}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}|(?:authsvc_(?:[a-z]+_)?|once_)[\w-]{43}(?![\w-])"
)
KEPT = {"master.key", "context.json"}
"""Files whose purpose is to keep a secret, both 0600."""
MASTER_KEY = base64.b64encode(bytes(range(1, 33))).decode()
PASSPHRASE = "a passphrase that nobody guesses"


class Witness:
    """Everything that was said, by where, and what must not be in it."""

    def __init__(self) -> None:
        self.heard: dict[str, bytes] = {}
        self.secrets: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def hear(self, where: str, text: str | bytes) -> None:
        content = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        self.heard[where] = self.heard.get(where, b"") + content

    def found(self) -> list[tuple[str, str]]:
        """Where which secret was said; from now on nothing more is heard."""
        self._stop.set()
        self._thread.join()
        return [
            (where, name)
            for where, content in self.heard.items()
            for name, secret in self.secrets.items()
            if secret.encode() in content
        ]

    def _watch(self) -> None:
        while not self._stop.wait(0.3):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    command = file.read_bytes()
                    if b"authsvc" in command or b"nats-server" in command:
                        self.heard[f"argv {file.parent.name} {hash(command)}"] = command

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


class Caller:
    """HTTP with everything that is answered on record, less what an answer hands over."""

    def __init__(self, url: str, witness: Witness) -> None:
        self.url, self.witness = url, witness
        self.http = httpx.Client(base_url=url, timeout=30)

    def send(
        self, method: str, path: str, hands: tuple[str, ...] = (), **kw: Any
    ) -> httpx.Response:
        answer = self.http.request(method, path, **kw)
        said = answer.text
        for name in hands:
            value = answer.json()[name]
            self.witness.secrets[f"{path} {name} {len(self.witness.secrets)}"] = value.strip()
            said = said.replace(json.dumps(value)[1:-1], "")
        self.witness.hear(f"{method} {path}", said)
        assert answer.status_code < 500, (path, answer.text)
        return answer

    def by_key(
        self,
        method: str,
        path: str,
        key: KeyPair,
        token: str | None,
        scheme: str = "DPoP",
        **kw: Any,
    ) -> httpx.Response:
        proof = dpop.make(
            key, method, self.url + path, token=token, now=time.time(), jti=secrets.token_hex(16)
        )
        headers = {"DPoP": proof} | ({"Authorization": f"{scheme} {token}"} if token else {})
        return self.send(method, path, headers=headers, **kw)


@pytest.fixture
def witness() -> Iterator[Witness]:
    with Witness() as found:
        yield found


def keys(witness: Witness, *names: str) -> list[KeyPair]:
    made = [KeyPair.generate(Prefix.USER) for _ in names]
    witness.secrets |= {name: pair.seed for name, pair in zip(names, made, strict=True)}
    return made


def users(caller: Caller, witness: Witness, admin: dict[str, str]) -> None:
    """Logins by each method, and what their credentials may; wrong ones between."""
    alice, roof, terminal, dev = keys(witness, "alice", "roof", "terminal", "dev")
    token = witness.secrets["access token"] = access_token("alice@example.com")
    jwt = caller.by_key("POST", "/v1/credentials", alice, token, "Bearer", hands=("jwt",)).json()[
        "jwt"
    ]
    caller.by_key("POST", "/v1/credentials/renew", alice, jwt, hands=("jwt",))
    for method, path in (("GET", "/v1/me"), ("GET", "/v1/credentials"), ("GET", "/v1/me/apps")):
        caller.by_key(method, path, alice, jwt)
    caller.by_key("PUT", "/v1/me/apps/chat", alice, jwt, json={"offline": True})
    enrolled = caller.send(
        "POST", "/v1/admin/enrolment-keys", ("key",), headers=admin, json={"username": "roof"}
    ).json()["key"]
    caller.by_key("POST", "/v1/credentials", roof, enrolled, "Bearer", hands=("jwt",))
    asked = caller.by_key(
        "POST", "/v1/device/authorize", terminal, None, hands=("device_code",)
    ).json()
    code = asked["user_code"]
    caller.send(
        "POST", f"/v1/admin/device/{code}/approve", headers=admin, json={"username": "terminal"}
    )
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": asked["device_code"],
    }
    polled = caller.by_key(
        "POST", "/v1/device/token", terminal, None, data=form, hands=("access_token",)
    )
    let_in = polled.json()["access_token"]
    caller.by_key("POST", "/v1/credentials", terminal, let_in, "Bearer", hands=("jwt",))
    by_mail = {"method": "dev"}
    caller.by_key(
        "POST", "/v1/credentials", dev, "dev@example.com", "Bearer", json=by_mail, hands=("jwt",)
    )
    for secret in (
        token,
        enrolled,
        let_in,
        asked["device_code"],
        alice.seed,
        jwt,
        admin["Authorization"][7:],
    ):
        # Where people put them by mistake.
        if secret != token:  # which is right there
            caller.by_key("POST", "/v1/credentials", alice, secret, "Bearer")
        hands = ("jwt",) if secret == jwt else ()  # there it is right, and a renewal
        caller.by_key("POST", "/v1/credentials/renew", alice, secret, hands=hands)
        caller.send("GET", f"/v1/users/{secret}/apps")
        caller.send("GET", "/v1/admin/users", headers={"Authorization": f"Bearer {secret[:-1]}"})
        caller.send("GET", f"/v1/admin/users/{secret}", headers=admin)
        caller.send("GET", f"/v1/admin/users?cursor={secret}", headers=admin)
        caller.send(
            "POST", "/v1/admin/explain", headers=admin, json={"username": [secret], "x": secret}
        )
        caller.by_key(
            "POST",
            "/v1/credentials",
            alice,
            token,
            "Bearer",
            json={"method": secret[:64], secret: 1},
        )


def administrators(caller: Caller, witness: Witness, admin: dict[str, str]) -> None:
    """What hands secrets over once, the console, and every list after it."""
    for path, body, hands in (
        ("users", {"username": "bob@example.com"}, ()),
        ("users/bob@example.com/credentials", {}, ("seed", "jwt", "creds")),
        ("api-keys", {"name": "x", "scopes": ["audit:read"]}, ("key",)),
        ("grants", {"username": "bob@example.com", "publish": ["a.b"]}, ()),
        ("roles", {"name": "sensors"}, ()),
    ):
        caller.send("POST", f"/v1/admin/{path}", hands, headers=admin, json=body)
    link = caller.send("POST", "/v1/admin/console-links", ("url",), headers=admin).json()["url"]
    witness.secrets["console link"] = link.rpartition("#")[2]
    answer = caller.http.post("/console/sign-in", data={"secret": link.rpartition("#")[2]})
    assert answer.status_code == 303
    witness.secrets["console session"] = next(iter(caller.http.cookies.values()))
    for page in (
        "",
        "/users",
        "/credentials",
        "/keys",
        "/api-keys",
        "/enrolment-keys",
        "/audit",
        "/servers",
    ):
        assert caller.send("GET", f"/console{page}").status_code == 200
    document = caller.send("GET", "/openapi.json").json()
    for path, operations in document["paths"].items():
        if "get" in operations and "{" not in path:
            caller.send("GET", path, headers=admin)
    caller.send("GET", "/metrics")


def commands(data: Path, backup: Path, witness: Witness) -> None:
    words = backup.with_suffix(".words")
    words.write_text(PASSPHRASE)
    words.chmod(0o600)
    env = {name: value for name, value in os.environ.items() if "AUTHSVC" not in name}
    env |= {"AUTHSVC_DATA_DIR": str(data), "AUTHSVC_MASTER_KEY": MASTER_KEY, "NO_COLOR": "1"}
    for line in (
        ["credential", "list"], ["api-key", "list"], ["audit", "list"], ["doctor"],
        ["user", "show", "nobody"],
        ["backup", "--data-dir", str(data), "--output", str(backup),
         "--passphrase-file", str(words)],
    ):  # fmt: skip
        ran = subprocess.run([*forks.authsvc(), *line], env=env, capture_output=True, check=False)
        witness.hear(" ".join(line[:2]), ran.stdout + ran.stderr)
        assert b"Traceback" not in ran.stderr, ran.stderr
    assert backup.stat().st_size > 1000
    witness.hear("backup", backup.read_bytes())


def test_nothing_that_is_left_holds_a_secret(
    start_up: StartUp, tmp_path: Path, witness: Witness
) -> None:
    data = tmp_path / "data"
    witness.secrets |= {"SyftBox": SECRET, "master key": MASTER_KEY, "passphrase": PASSPHRASE}
    witness.secrets["master key, hex"] = bytes(range(1, 33)).hex()
    up: Up = start_up(
        "--dev-login",
        env={
            "AUTHSVC_SYFTBOX_ACCESS_TOKEN_SECRET": SECRET,
            "AUTHSVC_MASTER_KEY": MASTER_KEY,
            "AUTHSVC_DEVICE_LOGIN": "true",
        },
    )
    key = json.loads((data / "context.json").read_text())["api_key"]
    witness.secrets["first API key"] = key
    caller = Caller(up.url, witness)
    users(caller, witness, {"Authorization": f"Bearer {key}"})
    administrators(caller, witness, {"Authorization": f"Bearer {key}"})
    commands(data, tmp_path / "backup.age", witness)
    caller.http.close()
    assert up.process.stderr is not None
    up.process.send_signal(2)
    up.process.wait(20)
    up.reader.join(5)
    out, err = "\n".join(up.lines), up.process.stderr.read()
    up.stop()
    # The link that it prints is for whoever started it, once.
    (printed,) = set(re.findall(r"once_[\w-]{43}", out))
    witness.hear("output", out.replace(printed, ""))
    witness.hear("error", err)
    witness.secrets["printed link"] = printed
    for file in data.rglob("*"):
        if file.is_file() and file.name not in KEPT:
            witness.hear(f"file {file.relative_to(data)}", file.read_bytes())
    assert len(witness.secrets) > 20
    assert len(witness.heard) > 80
    found = witness.found()
    assert found == [], "\n".join(map(str, found))
    # By their shapes too, where nothing of the kind may be: what we don't know of is found so.
    # Not in metrics, some of whose names have an API key's form by accident.
    silent = [
        it
        for it in witness.heard
        if it.startswith(("argv", "output", "error", "file log", "backup"))
    ]
    assert [
        (it, SHAPES.findall(witness.heard[it])) for it in silent if SHAPES.search(witness.heard[it])
    ] == []
    assert b"Traceback" not in b"".join(witness.heard[it] for it in silent)
