"""The account server's routes and what is asked without authorization."""

from __future__ import annotations

import os
import signal

import pytest

from authsvc.claims import decode_account, decode_operator
from tests.fixtures.authsvc import LiveService, StartService


@pytest.fixture
def service(emptied_service: LiveService) -> LiveService:
    """One for the module, emptied for each test."""
    return emptied_service


async def test_account_jwts(service: LiveService) -> None:
    assert (await service.http.get("/jwt/v1/accounts/")).status_code == 200
    people = service.running.material.people
    answer = await service.http.get(f"/jwt/v1/accounts/{people}")
    assert answer.status_code == 200
    claims = decode_account(answer.text)
    assert claims.subject == people
    assert answer.headers["etag"] == f'"{claims.id}"'
    known = {"If-None-Match": answer.headers["etag"]}
    again = await service.http.get(f"/jwt/v1/accounts/{people}", headers=known)
    assert again.status_code == 304
    assert again.content == b""
    other = await service.http.get(
        f"/jwt/v1/accounts/{people}", headers={"If-None-Match": '"another"'}
    )
    assert other.status_code == 200


async def test_account_chain(service: LiveService) -> None:
    operator = decode_operator((await service.http.get("/jwt/v1/operator")).text)
    material = service.running.material
    assert operator.subject == operator.issuer == material.operator
    assert operator.system_account == material.system
    for account in (material.people, material.mail, material.system):
        claims = decode_account((await service.http.get(f"/jwt/v1/accounts/{account}")).text)
        # Accounts are signed by the operator's signing key, never by its identity.
        assert claims.issuer in operator.signing_keys
        assert claims.issuer != material.operator
    people = decode_account((await service.http.get(f"/jwt/v1/accounts/{material.people}")).text)
    assert len(people.imports) == 5
    assert people.limits.jetstream.disk_storage == 0
    assert people.limits.jetstream.memory_storage == 0
    mail = decode_account((await service.http.get(f"/jwt/v1/accounts/{material.mail}")).text)
    assert len(mail.exports) == 5


async def test_unknown_account(service: LiveService) -> None:
    answer = await service.http.get("/jwt/v1/accounts/" + "A" * 56)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_discovery(service: LiveService) -> None:
    body = (await service.http.get("/.well-known/authsvc")).json()
    assert body["public_url"] == service.url
    assert body["account"] == service.running.material.people
    assert body["operator"] == service.running.material.operator
    assert body["servers"] == [service.nats_url]
    assert [method["name"] for method in body["login_methods"]] == ["syftbox"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_ready_tells_why_it_is_not(start_service: StartService) -> None:
    service = await start_service()
    assert (await service.http.get("/readyz")).status_code == 200
    await service.supervisor.stop()
    await service.running.reconciler.propagate(service.running.material.people_id, wait=2)
    answer = await service.http.get("/readyz")
    assert answer.status_code == 503
    assert "nats" in answer.json()["reasons"]
    assert (await service.http.get("/healthz")).status_code == 200


async def test_issuing_needs_no_nats_server(service: LiveService) -> None:
    pid = service.supervisor.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        assert (await service.login("alice@example.com")).status_code == 201
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_every_answer_has_a_request_id(service: LiveService) -> None:
    for path in ("/healthz", "/v1/me", "/nothing", "/openapi.json"):
        assert (await service.http.get(path)).headers["x-request-id"]
    own = await service.http.get("/healthz", headers={"X-Request-Id": "my-own-id-1"})
    assert own.headers["x-request-id"] == "my-own-id-1"
    bad = await service.http.get("/healthz", headers={"X-Request-Id": "a b"})
    assert bad.headers["x-request-id"] != "a b"


async def test_metrics_count(service: LiveService) -> None:
    def issued(text: str) -> float:
        lines = [
            it for it in text.splitlines() if it.startswith("authsvc_credentials_issued_total")
        ]
        return sum(float(line.split()[-1]) for line in lines)

    before = issued((await service.http.get("/metrics")).text)
    await service.login("alice@example.com")
    assert issued((await service.http.get("/metrics")).text) == before + 1
