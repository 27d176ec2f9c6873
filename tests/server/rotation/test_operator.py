"""The operator's signing key: nats-server learns of a new one when it is started."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from authsvc.claims import Creds, decode_account, decode_operator
from authsvc.nkey import KeyPair, Prefix
from authsvc.server import audit
from authsvc.server.models import Account
from authsvc.server.rotation import remove_seed
from tests.fixtures.authsvc import LiveService, live_service
from tests.security.raw import RawClient

PATH = "/v1/admin/keys/rotate"


async def rotate(service: LiveService, status: int = 200, **body: Any) -> dict[str, Any]:
    answer = await service.admin("POST", PATH, "keys:rotate", json={"account": "operator", **body})
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def trusted(service: LiveService) -> set[str]:
    """The signing keys in the operator JWT that the account server shows."""
    text = (await service.http.get("/jwt/v1/operator")).text
    return set(decode_operator(text).signing_keys)


async def signers(service: LiveService) -> set[str]:
    async with service.running.database.reading() as session:
        return {decode_account(row.jwt).issuer for row in await session.scalars(select(Account))}


async def connects(service: LiveService, name: str) -> None:
    key = KeyPair.generate(Prefix.USER)
    jwt = (await service.login(name, key)).json()["jwt"]
    host, port = service.nats_url.removeprefix("nats://").split(":")
    client = await RawClient.connect(host, int(port), Creds(jwt, key))
    assert await client.refused() == []
    await client.close()


async def test_from_start_to_start(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("authsvc.server.tending._TEND_SECONDS", 0.1)
    async with live_service(tmp_path / "data", database_url) as service:
        (old,) = await trusted(service)
        none = await rotate(service, 409, step="activate")
        assert "prepare one first" in none["detail"]
        new = await rotate(service)
        assert (new["state"], new["propagation"]["state"]) == ("prepared", "pending")
        assert (await rotate(service))["id"] == new["id"]
        assert await trusted(service) == {old, new["public_key"]}
        early = await rotate(service, 409, step="activate")
        assert "authsvc-nats" in early["detail"]
        assert "restart" in early["detail"]
        await service.running.rotation.tend(int(time.time()))
        assert await signers(service) == {old}
        await connects(service, "alice@example.com")
    # Started anew, every server trusts it, and it signs by itself.
    async with live_service(tmp_path / "data", database_url) as service:
        async with asyncio.timeout(20):
            while await signers(service) != {new["public_key"]}:  # noqa: ASYNC110 - elsewhere
                await asyncio.sleep(0.1)
        await connects(service, "bob@example.com")
        revoked = await service.admin("POST", PATH, "keys:rotate")
        assert revoked.json()["propagation"]["state"] == "applied"
        signs = await rotate(service, 409, step="retire", public_key=new["public_key"])
        assert "rotate first" in signs["detail"]
        gone = await rotate(service, step="retire")
        assert (gone["public_key"], gone["state"], gone["held"]) == (old, "retired", False)
        assert await trusted(service) == {new["public_key"]}
    async with live_service(tmp_path / "data", database_url) as service:
        await connects(service, "alice@example.com")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_it_needs_the_identity_key_and_says_so(service: LiveService) -> None:
    before = await trusted(service)
    context = audit.Context(audit.Actor("service", "test"), "", "")
    async with service.running.database.writing() as session:
        await remove_seed(session, "operator-identity", context=context, now=1, confirm=True)
    refused = await rotate(service, 409)
    assert "authsvc key import" in refused["detail"]
    assert await trusted(service) == before
    listed = (await service.admin("GET", "/v1/admin/keys", "keys:rotate")).json()["items"]
    operators = {it["purpose"]: it["held"] for it in listed if it["owner"] == "operator"}
    assert operators == {"identity": False, "signing": True}
