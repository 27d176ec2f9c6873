"""``authsvc status``, and how much a command imports before it does anything."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

from tests.cli.shell import Shell
from tests.fixtures.waiting import until


async def test_status(admin_shell: Shell) -> None:
    shell, service = admin_shell, admin_shell.service
    found = await shell.ok("status")
    assert f"url            {service.url}" in found.out
    env = await shell.ok("status", "-o", "env")
    lines = {f"export NATS_URL={service.nats_url}", f"export SYFTBOX_AUTHSVC_URL={service.url}"}
    assert lines <= set(env.out.splitlines())
    assert shell.env["AUTHSVC_API_KEY"] not in env.out
    shown = await shell.ok("status", "-o", "env", "--show-key")
    assert f"export AUTHSVC_API_KEY={shell.env['AUTHSVC_API_KEY']}" in shown.out.splitlines()
    assert (await shell.ok("status", "--json")).json["ready"] is True
    await service.supervisor.stop()
    await until(lambda: not service.running.reconciler.connected)
    away = await shell("status", "-o", "json")
    assert (away.code, away.json["ready"]) == (4, False)
    assert "nats" in away.json["reasons"]
    assert (await shell("status", AUTHSVC_URL="http://127.0.0.1:1")).code == 4


async def test_help_names_all_commands_and_a_closed_pipe_is_no_mistake(
    admin_shell: Shell,
) -> None:
    shell = admin_shell
    told = await shell.ok("--help")
    for name in ("up", "status", "explain", "user", "credential", "grant", "api-key", "key"):
        assert f" {name} " in told.out
    assert (await shell("nothing")).code == 2
    reading, writing = os.pipe()
    os.close(reading)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "authsvc", "user", "list", "--json"),
        env={**os.environ, **shell.env},
        stdout=writing,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(writing)
    _, err = await process.communicate()
    assert (process.returncode, err) == (1, b"")


def test_what_is_slow_to_import_comes_late() -> None:
    """250 ms are the bound for a client command; these are what would break it."""
    slow = ["asyncio", "httpx", "rich", "pydantic", "nats", "sqlalchemy", "fastapi", "keyring"]
    slow += ["authsvc.rpc"]
    code = f"import sys, authsvc.cli.commands; print([it for it in {slow} if it in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
    code = (
        "import sys; from authsvc.cli.context import Context; "
        "from authsvc.cli import context;"
        "context.find_context = lambda _: Context('http://x', 'k');"
        "context.admin_api().close();"
        "print([it for it in ('rich', 'click', 'pygments', 'asyncio') if it in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
