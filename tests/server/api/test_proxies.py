"""Whose word about the client's address is taken: a trusted proxy's, and nobody else's."""

from __future__ import annotations

import secrets

import httpx
import pytest
from sqlalchemy import select
from sqlmodel import col

from authsvc.cli.listening import http_served, listen
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.app import create_app
from authsvc.server.models import AuditEvent
from tests.fixtures.authsvc import LiveService, access_token

CLAIMED = "198.51.100.7, 203.0.113.9"
"""What the client made up, and what the proxy before us added."""


@pytest.fixture
def service(emptied_service: LiveService) -> LiveService:
    """One for the module, emptied for each test."""
    return emptied_service


async def _address(service: LiveService, url: str, name: str) -> str:
    """The address in the audit of a login through the URL, found by the request's id."""
    key, token = KeyPair.generate(Prefix.USER), access_token(name)
    proof = service.proof(key, "POST", "/v1/credentials", token)
    headers = {"Authorization": f"Bearer {token}", "DPoP": proof, "X-Forwarded-For": CLAIMED}
    headers["X-Request-Id"] = request_id = secrets.token_hex(16)
    async with httpx.AsyncClient() as http:
        answer = await http.post(f"{url}/v1/credentials", headers=headers)
    assert answer.status_code == 201, answer.text
    assert answer.headers["X-Request-Id"] == request_id
    async with service.running.database.reading() as session:
        events = await session.scalars(
            select(AuditEvent).where(col(AuditEvent.request_id) == request_id)
        )
        found = {event.target_id: event.address for event in events}
    return found[answer.json()["id"]]


async def test_the_audit_has_the_client_s_address_behind_a_trusted_proxy(
    service: LiveService,
) -> None:
    assert await _address(service, service.url, "alice@example.com") == "127.0.0.1"
    with listen("127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with http_served(create_app(service.running), listening, None, ["127.0.0.0/8"]):
            assert await _address(service, url, "bob@example.com") == "203.0.113.9"
