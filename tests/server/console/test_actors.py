"""The audit's pages say who did it by name."""

from __future__ import annotations

import html
import re

import pytest

from authsvc.nkey import KeyPair, Prefix
from tests.fixtures.authsvc import LiveService
from tests.server.console.test_signing_in import present, somebody

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def actors(page: str) -> set[str]:
    """The words in the column Actor."""
    cells = re.findall(r'<td data-label="Actor"[^>]*>(.*?)</td>', page, flags=re.DOTALL)
    return {" ".join(html.unescape(re.sub("<[^>]+>", "", cell)).split()) for cell in cells}


async def test_everybody_has_a_name(service: LiveService) -> None:
    await service.login("alice@example.com", KeyPair.generate(Prefix.USER))
    (own, *_) = (await service.admin("GET", "/v1/admin/api-keys")).json()["items"]
    await service.admin("POST", "/v1/admin/users", json={"username": "weather", "kind": "service"})
    async with somebody(service) as client:
        await present(client, await service.api_key("admin"))
        said = actors((await client.get("/console/audit")).text)
        assert {"user alice@example.com", "service authsvc", f"api key {own['name']}"} <= said
        assert "by <span" in (await client.get("/console")).text

        # One who is gone is known by the end of an id, and so is one who may not be read.
        users = (await service.admin("GET", "/v1/admin/users")).json()["items"]
        (alice,) = (it["id"] for it in users if it["username"] == "alice@example.com")
        await service.admin("DELETE", f"/v1/admin/users/{alice}")
        assert f"user {alice[-6:]}" in actors((await client.get("/console/audit")).text)
    async with somebody(service) as client:
        await present(client, await service.api_key("audit:read"))
        said = actors((await client.get("/console/audit")).text)
        assert f"user {alice[-6:]}" in said
        assert any(re.fullmatch(r"api key [a-z0-9]{6}", it) for it in said)
