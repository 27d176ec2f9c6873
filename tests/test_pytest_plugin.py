"""The pytest plugin, in runs of pytest of its own."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[1]
PLUGIN = ("-p", "authsvc.pytest_plugin", "-p", "no:cacheprovider", "-W", "error")

APP_TEST = """
import asyncio
from authsvc.rpc import Service

service = Service("pingpong")

@service.on_request("/ping")
async def ping(body: dict) -> dict:
    return {"pong": body["n"]}

def test_people_have_names(authsvc_server, authsvc_login):
    async def main():
        async with authsvc_login("alice@example.com") as alice, authsvc_login("bob@x.org") as bob:
            assert (alice.username, bob.username) == ("alice@example.com", "bob@x.org")
            lasts = bob.session.login.renew_at
            serving = asyncio.create_task(service.serve(bob))
            await service.ready()
            response = await alice.peer("bob@x.org", "pingpong").call("/ping", json={"n": 1})
            assert response.json() == {"pong": 1}
            await service.stop()
            await serving
    asyncio.run(main())

def test_code_that_blocks(authsvc_login_sync):
    with authsvc_login_sync("alice@example.com") as alice:
        assert alice.username == "alice@example.com"

def test_the_server_is_the_same(authsvc_server):
    from urllib.request import urlopen
    assert urlopen(authsvc_server.url + "/healthz").status == 200
    assert authsvc_server.nats_url.startswith("nats://127.0.0.1:")
    assert "CREDENTIAL_TTL" not in repr(authsvc_server)
"""

EXAMPLE_FIXTURE = """
import pytest

@pytest.fixture(name="service")
def service_fixture():
    return service
"""


@pytest.fixture
def clean(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder whose runs find this package, and nothing of this run's own settings."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # The plugin is named: where the package is installed it would be found a second time.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for name in [name for name in os.environ if name.startswith(("COV_", "PYTEST_XDIST"))]:
        monkeypatch.delenv(name)
    return pytester


def test_people_log_in_at_real_servers(
    clean: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTHSVC_PORT", "not a port")  # settings around it don't count
    clean.makeconftest(
        "import pytest\n"
        "@pytest.fixture(scope='session')\n"
        "def authsvc_settings():\n"
        "    return {'CREDENTIAL_TTL': '1200'}\n"
    )
    page = (ROOT / "docs" / "testing.md").read_text("utf-8")
    example = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[2]
    clean.makepyfile(APP_TEST + EXAMPLE_FIXTURE + example)
    clean.runpytest_subprocess(*PLUGIN).assert_outcomes(passed=4)
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if _names(path, clean.path)]


def _names(cmdline: Path, folder: Path) -> bool:
    try:
        return str(folder).encode() in cmdline.read_bytes()
    except OSError:
        return False


def test_who_does_not_use_it_pays_nothing(clean: pytest.Pytester) -> None:
    clean.makepyfile(
        "import sys\n"
        "def test_it():\n"
        "    loaded = {name for name in sys.modules if name.startswith('authsvc')}\n"
        "    assert loaded == {'authsvc', 'authsvc.pytest_plugin'}\n"
        "    assert not {'httpx', 'nats', 'fastapi'} & set(sys.modules)\n"
    )
    clean.runpytest_subprocess(*PLUGIN).assert_outcomes(passed=1)


def test_without_the_service_it_says_what_to_install(
    clean: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = clean.mkdir("base")
    (base / "typer.py").write_text("raise ModuleNotFoundError('no typer', name='typer')\n")
    monkeypatch.setenv("PYTHONPATH", f"{base}{os.pathsep}{ROOT}")
    clean.makepyfile("def test_it(authsvc_server):\n    raise AssertionError\n")
    result = clean.runpytest_subprocess(*PLUGIN)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*pip install 'authsvc?server?'*"])


def test_a_setting_that_is_wrong_is_told(clean: pytest.Pytester) -> None:
    clean.makeconftest(
        "import pytest\n"
        "@pytest.fixture(scope='session')\n"
        "def authsvc_settings():\n"
        "    return {'CREDENTIAL_TTL': 'soon'}\n"
    )
    clean.makepyfile("def test_it(authsvc_server):\n    raise AssertionError\n")
    result = clean.runpytest_subprocess(*PLUGIN)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["authsvc_server: *", "AUTHSVC_CREDENTIAL_TTL: *"])
