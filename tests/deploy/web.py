"""A real browser with the official JavaScript client, which trusts one authority of the test's."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright

from tests.fixtures.authority import Authority

__all__ = ["browsing", "bundled"]

_SOURCE = Path(__file__).parent / "browser"
_ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server")


def _program(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"the tests need {name}: apt-get install {package}", pytrace=False)
    return found


def bundled(folder: Path) -> str:
    """The client and what it imports as one script, as a web app would ship it.

    Args:
        folder: Where npm installs; what package-lock.json says, byte for byte.
    """
    npm = _program("npm", "npm")
    for name in ("package.json", "package-lock.json", ".npmrc", "client.js"):
        shutil.copy(_SOURCE / name, folder)
    install = "ci --no-audit --no-fund --ignore-scripts --prefer-offline --loglevel=error"
    subprocess.run([npm, *install.split()], cwd=folder, check=True, capture_output=True)
    esbuild = folder / "node_modules" / ".bin" / "esbuild"
    done = subprocess.run(
        [esbuild, "client.js", "--bundle", "--format=iife", "--log-level=warning"],
        cwd=folder, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout


def _trust(home: Path, authority: Authority) -> None:
    """Chromium's own list of authorities, in a home of its own."""
    store = home / ".pki" / "nssdb"
    store.mkdir(parents=True)
    certutil = _program("certutil", "libnss3-tools")
    for words in ("-N --empty-password", f"-A -n authority -t C,, -i {authority.file}"):
        subprocess.run([certutil, "-d", f"sql:{store}", *words.split()], check=True)


@asynccontextmanager
async def browsing(
    folder: Path, authority: Authority, hosts: Mapping[str, str]
) -> AsyncIterator[Page]:
    """A page in Chromium.

    Args:
        folder: The browser's home, new.
        authority: Whom it trusts beside the usual ones.
        hosts: Addresses by host name.
    """
    _trust(folder, authority)
    rules = ", ".join(f"MAP {name} {address}" for name, address in hosts.items())
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=_program("chromium", "chromium"),
            args=[*_ARGUMENTS, f"--host-resolver-rules={rules}"],
            env={**os.environ, "HOME": str(folder)},
        )
        try:
            yield await browser.new_page()
        finally:
            await browser.close()
