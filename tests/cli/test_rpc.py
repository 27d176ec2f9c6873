"""``authsvc rpc``: as processes, between people who log in at a live service."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import typer.main
from click.testing import CliRunner

from authsvc.claims import format_creds
from authsvc.cli.commands import app
from authsvc.cli.rpc_credentials import Identity
from authsvc.rpc.testing import LocalServer
from tests.cli.invoking import authsvc
from tests.fixtures import forks
from tests.fixtures.nats import NatsKit

ALICE, BOB, CAROL = "alice@example.com", "bob@example.com", "carol@example.com"

APP = """
from authsvc.rpc import Request, Response, Service

app = Service("docs")

@app.on_request("/echo")
async def echo(request: Request) -> Response:
    return Response(request.content, headers={"x-kind": request.headers.get("content-type", "")})

@app.on_request("/ping")
async def ping(request: Request) -> dict:
    return {"pong": request.json()["n"]}

@app.on_request("/status", methods=["GET"])
async def status(request: Request) -> Response:
    return Response("no", status=int(request.query))
"""


@asynccontextmanager
async def serving(*arguments: str, environ: dict[str, str], cwd: Path) -> AsyncIterator[Any]:
    process = await asyncio.create_subprocess_exec(
        *forks.authsvc(),
        *("rpc", "serve", *arguments),
        env={**os.environ, **environ},
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        assert line.startswith(b"ready "), (await process.communicate())[1].decode()
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()
    assert process.returncode == 0


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    # A process of its own: what it logs is not what a command prints.
    with LocalServer(tmp_path_factory.mktemp("authsvc")) as server:
        yield server.url


def identity(url: str, who: str) -> dict[str, str]:
    return {"AUTHSVC_URL": url, "AUTHSVC_TOKEN": who}


async def rpc(url: str, who: str, *arguments: str) -> tuple[int, str, str]:
    return await authsvc("rpc", *arguments, "--login-method", "dev", **identity(url, who))


async def test_a_module_serves_and_is_called(url: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    key = str(tmp_path / "bob.nk")
    where: dict[str, Any] = {"environ": identity(url, BOB), "cwd": tmp_path}
    async with serving("app:app", "--login-method", "dev", "--key", key, **where):
        call = ("call", f"{BOB}/docs")
        found = await rpc(url, ALICE, *call, "/ping", "--json", '{"n": 7}')
        assert found == (0, '{"pong":7}', "")
        link = f"syft://{BOB}/app_data/docs/rpc/echo"
        (tmp_path / "body").write_bytes(b"\xffbinary")
        body = f"@{tmp_path}/body"
        code, out, _ = await rpc(
            url, ALICE, "call", link, "--data", body, "--output", "json", "-H", "content-type: a/b"
        )
        assert (code, json.loads(out)["base64"]) == (0, "/2JpbmFyeQ==")
        assert ["x-kind", "a/b"] in json.loads(out)["headers"]
        for status, expected in ((404, 1), (403, 3), (503, 4)):
            code, out, err = await rpc(url, ALICE, *call, f"/status?{status}", "-X", "GET")
            assert (code, out) == (expected, "no")
            assert f"answered {status}" in err
        code, out, _ = await rpc(
            url, ALICE, "ping", "--user", BOB, "--app", "docs", "-c", "5", "-i", "0", "--json"
        )
        found_json = json.loads(out)
        assert (code, found_json["sent"], found_json["statuses"]) == (0, 5, {"200": 5})
        ms = found_json["ms"]
        assert 0 < ms["min"] <= ms["p50"] <= ms["p99"] <= ms["max"]
        code, out, _ = await rpc(url, ALICE, "ping", "--user", BOB, "--app", "docs", "-c", "2")
        assert code == 0
        assert f"{BOB} docs: n=2 status=200 time=" in out
        assert "2 sent, 2 answered" in out
    code, out, err = await rpc(url, ALICE, *call, "/ping", "--json", "{}")
    assert (code, out) == (4, "")
    assert "nobody listens" in err
    code, out, _ = await rpc(url, ALICE, "ping", "--user", BOB, "--app", "docs", "-c", "1")
    assert code == 4
    assert "1 NoResponder" in out


async def test_a_command_serves(url: str, tmp_path: Path) -> None:
    script = tmp_path / "handler"
    script.write_text(
        "#!/bin/sh\n"
        'case "$AUTHSVC_TARGET" in\n'
        "  /fail) echo secret >&2; echo half; exit 3;;\n"
        "  /hang) sleep 600;;\n"
        "  /unread) echo unread;;\n"
        '  /env) echo "$AUTHSVC_APP ${AUTHSVC_TOKEN-none} ${SYFTBOX_REFRESH_TOKEN-none}";;\n'
        '  *) echo "$AUTHSVC_REQUESTER $AUTHSVC_METHOD $AUTHSVC_TARGET $(cat)";;\n'
        "esac\n"
    )
    script.chmod(0o755)
    where: dict[str, Any] = {
        "environ": identity(url, BOB) | {"SYFTBOX_REFRESH_TOKEN": "r"},
        "cwd": tmp_path,
    }
    options = ("--exec", f"{script}", "--login-method", "dev", "--allow", ALICE)
    async with serving("sh", *options, **where):
        call = ("call", f"{BOB}/sh")
        code, out, _ = await rpc(url, ALICE, *call, "/a?b=c", "-X", "PUT", "--data", "$(hi)")
        assert (code, out) == (0, f"{ALICE} PUT /a?b=c $(hi)\n")
        code, out, err = await rpc(url, ALICE, *call, "/fail")
        assert (code, "secret" in out + err, "half" in out) == (1, False, False)
        big = tmp_path / "big"
        big.write_bytes(bytes(2_000_000))
        code, out, _ = await rpc(url, ALICE, *call, "/unread", "--data", f"@{big}")
        assert (code, out) == (0, "unread\n")
        code, out, _ = await rpc(url, ALICE, *call, "/env")
        assert (code, out) == (0, "sh none none\n")
        code, _, err = await rpc(url, ALICE, *call, "/hang", "--timeout", "0.5")
        assert (code, "in time" in err or "419" in err) == (4, True)
        code, _, _ = await rpc(url, CAROL, *call, "/a")
        assert code == 3


async def test_requests_are_stored_and_their_answers_found(url: str, tmp_path: Path) -> None:
    where: dict[str, Any] = {"environ": identity(url, BOB), "cwd": tmp_path}
    options = ("cat", "--exec", "cat", "--offline", "--login-method", "dev")
    call = ("call", f"{BOB}/cat", "/", "--submit")
    async with serving(*options, **where):
        code, out, err = await rpc(url, ALICE, *call, "--data", "one")
        assert (code, out) == (0, "one")
        assert err.startswith("bob@example%2Ecom.cat.")
    code, out, _ = await rpc(url, ALICE, *call, "--data", "two", "--no-wait", "--expires", "1h")
    assert code == 0
    future = out.strip()
    code, out, err = await rpc(url, ALICE, "result", future, "--timeout", "0.2")
    assert (code, out) == (4, "")
    assert "no answer" in err
    async with serving(*options, **where):
        code, out, _ = await rpc(url, ALICE, "result", future, "--output", "json")
    assert (code, json.loads(out)["text"]) == (0, "two")


async def test_the_four_way_matrix(url: str) -> None:
    code, out, err = await rpc(url, ALICE, "ping", "--matrix")
    assert code == 0, out + err
    first, online, offline = out.splitlines()
    assert first.split() == ["responder", "online", "responder", "offline"]
    assert online.startswith("requester online")
    assert [line.count("stored") for line in (online, offline)] == [2, 2]
    environ = {**identity(url, ALICE), "AUTHSVC_RESPONDER_TOKEN": BOB}
    arguments = ("rpc", "ping", "--matrix", "--json", "--login-method", "dev")
    code, out, err = await authsvc(*arguments, **environ)
    assert code == 0, out + err
    cells = json.loads(out)["cells"]
    assert {(cell["requester"], cell["responder"]) for cell in cells} == {
        ("online", "online"),
        ("online", "offline"),
        ("offline", "online"),
        ("offline", "offline"),
    }
    assert all(cell["ok"] and min(cell["ms"].values()) > 0 for cell in cells)


async def test_a_case_that_fails_is_shown(nats_kit: NatsKit, tmp_path: Path) -> None:
    creds = nats_kit.user_creds("rpc-matrix@example.com")
    path = tmp_path / "me.creds"
    path.write_text(format_creds(creds.jwt, creds.key))
    # Nobody registers an app by a .creds file.
    code, out, _ = await authsvc(
        *("rpc", "ping", "--matrix", "--json", "--creds", str(path), "--server", nats_kit.url)
    )
    assert code == 1
    assert [cell["ok"] for cell in json.loads(out)["cells"]] == [False] * 4


async def test_a_creds_file_and_refusals(nats_kit: NatsKit, tmp_path: Path) -> None:
    creds = nats_kit.user_creds("rpc-cli@example.com")
    path = tmp_path / "me.creds"
    path.write_text(format_creds(creds.jwt, creds.key))
    by_creds = ("--creds", str(path), "--server", nats_kit.url)
    home = {"HOME": str(tmp_path), "AUTHSVC_DATA_DIR": str(tmp_path)}
    target = f"{BOB}/docs"

    async def refused(*arguments: str, **environ: str) -> tuple[int, str]:
        code, out, err = await authsvc("rpc", *arguments, **{**home, **environ})
        assert out == ""
        return code, err

    code, err = await refused("call", target, "/x", *by_creds)
    assert (code, "nobody listens" in err) == (4, True)
    code, err = await refused("call", target, "/x")
    assert (code, "SyftBox" in err) == (3, True)
    code, err = await refused(
        "call", target, "/x", AUTHSVC_TOKEN="t", AUTHSVC_URL="http://127.0.0.1:1"
    )
    assert code == 4
    code, err = await refused("call", target, "/x", "--token-file", str(tmp_path / "none"))
    assert (code, "can't be read" in err) == (3, True)


def test_a_token_is_read_once_from_a_pipe_and_anew_from_a_file(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"piped\n")
    os.close(writing)
    try:
        piped = Identity("http://127.0.0.1:1", Path(f"/dev/fd/{reading}")).arguments()
    finally:
        os.close(reading)
    assert piped["token"] == "piped"
    path = tmp_path / "token"
    path.write_text("first\n")
    kept = Identity("http://127.0.0.1:1", path).arguments()
    path.write_text("renewed\n")
    assert kept["token"]() == "renewed"


def test_what_does_not_fit_together_is_a_matter_of_usage(tmp_path: Path) -> None:
    path, target = str(tmp_path / "me.creds"), f"{BOB}/docs"
    by_creds = ("--creds", path, "--server", "nats://127.0.0.1:1")
    command: Any = typer.main.get_command(app)  # which takes long to make
    for usage in (
        ("call", "bob", "/x", *by_creds),
        ("call", target, "/x", "--json", "{", *by_creds),
        ("call", target, "/x", "--json", "1", "--data", "1", *by_creds),
        ("call", target, "/x", "-H", "nocolon", *by_creds),
        ("call", "syft://b@x/app_data/a/rpc/x", "/y", *by_creds),
        ("call", target, "/x", "--creds", path),
        ("call", target, "/x", "--url", "http://127.0.0.1:1"),
        ("ping", *by_creds),
        ("ping", "--matrix", "--user", BOB, *by_creds),
        ("call", target, "/x", "--no-wait", *by_creds),
        ("call", target, "/x", "--expires", "1h", *by_creds),
        ("serve", "docs:app", "--offline", *by_creds),
        ("serve", "docs", *by_creds),
        ("serve", "no_such_module:app", *by_creds),
        ("serve", "json:loads", *by_creds),
        ("serve", "x", "--exec", "'", *by_creds),
    ):
        found = CliRunner(env={"AUTHSVC_TOKEN": None}).invoke(command, ["rpc", *usage])
        assert (found.exit_code, found.stdout) == (2, ""), (usage, found.output)
