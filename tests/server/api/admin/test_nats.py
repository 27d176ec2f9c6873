"""``/v1/admin/nats``: configuration, status, push."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from authsvc.server.provision.binary import find_nats_server
from tests.fixtures.authsvc import LiveService, StartService
from tests.fixtures.waiting import until

CONFIG, STATUS, PUSH = (f"/v1/admin/nats/{name}" for name in ("config", "status", "push"))


@pytest.fixture
def service(emptied_service: LiveService) -> LiveService:
    """One for the module, emptied for each test."""
    return emptied_service


async def test_the_configuration_is_one_that_nats_server_takes(
    service: LiveService, tmp_path: Path
) -> None:
    query = {
        "server_name": "n1",
        "store_dir": str(tmp_path / "n1"),
        "listen": "127.0.0.1:4222",
        "cluster": "c1",
        "cluster_listen": "127.0.0.1:6222",
        "route": ["nats://n1:6222", "nats://n2:6222"],
    }
    answer = await service.admin("GET", CONFIG, "nats:push", params=query)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    config = tmp_path / "n1.conf"
    config.write_text(answer.text)
    checked = await asyncio.create_subprocess_exec(
        find_nats_server().path, "-t", "-c", config, stderr=asyncio.subprocess.PIPE
    )
    _, said = await checked.communicate()
    assert checked.returncode == 0, said
    assert "nats://n2:6222" in answer.text
    assert service.running.material.people in answer.text
    for word in ("SU", "SA", "SO"):
        assert f'"{word}' not in answer.text


REFUSED = [
    ({"listen": "x"}, "no host:port"),
    ({"listen": "127.0.0.1:99999"}, "no host:port"),
    ({"cluster": "c"}, "TLS with verified certificates"),
    ({"route": "nats://a:1"}, "name of a cluster"),
    ({"cluster": "c", "private_network": "true", "route": "http://a:1"}, "no nats://"),
    ({"tls_cert": "a"}, "both --tls-cert and --tls-key"),
    ({"server_name": "a b"}, "server name"),
    ({"password": "x"}, "password"),
]


async def test_what_can_not_be_configured_is_refused(service: LiveService) -> None:
    for query, said in REFUSED:
        answer = await service.admin("GET", CONFIG, "nats:push", params=query)
        assert answer.status_code == 422, query
        assert said in answer.json()["detail"]


async def test_the_status_tells_servers_and_accounts(service: LiveService) -> None:
    answer = await service.admin("GET", STATUS, "users:read")
    assert answer.status_code == 200
    status = answer.json()
    assert (status["connected"], status["error"], status["foreign"]) == (True, None, [])
    (server,) = status["servers"]
    assert (server["name"], server["answers"]) == ("authsvc-nats", True)
    assert abs(server["clock_ahead"]) < 5
    assert server["jetstream"]["max_storage"] > server["jetstream"]["reserved_storage"] >= 0
    kinds = {account["kind"]: account for account in status["accounts"]}
    assert kinds.keys() == {"people", "mail", "system"}
    assert server["applied"] == {account["id"]: True for account in kinds.values()}
    people = kinds["people"]
    assert people["public_key"] == service.running.material.people
    assert (people["revision"], people["revocations"], people["warnings"]) == (
        people["published_revision"], 0, [],
    )  # fmt: skip
    assert 1000 < people["jwt_bytes"] < 10_000 < people["jwt_bytes_limit"]
    assert people["propagation"]["state"] == "applied"


async def test_a_push_reaches_every_account_and_is_audited(service: LiveService) -> None:
    resolver = service.running.reconciler.resolver
    assert resolver is not None
    before = resolver.last_seen()
    answer = await service.admin("POST", PUSH, "nats:push")
    assert answer.status_code == 200
    found = answer.json()
    assert found["state"] == "applied"
    assert len(found["accounts"]) == 3
    for account in found["accounts"]:
        (server,) = account["propagation"]["servers"]
        assert server["applied"]
        assert server["id"] in before


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_while_nats_server_is_away_it_says_so_at_once(start_service: StartService) -> None:
    service = await start_service()
    await service.supervisor.stop()
    await until(lambda: not service.running.reconciler.connected)
    async with asyncio.timeout(4):
        found = (await service.admin("POST", PUSH, "nats:push")).json()
    assert found["state"] == "pending"
    status = (await service.admin("GET", STATUS, "users:read")).json()
    assert not status["connected"]
    assert status["error"]
    assert [server["answers"] for server in status["servers"]] == [False]


async def test_without_the_scope_it_is_refused(service: LiveService) -> None:
    for method, path in [("GET", CONFIG), ("GET", STATUS), ("POST", PUSH)]:
        assert (await service.admin(method, path, "audit:read")).status_code == 403
        assert (await service.http.request(method, path)).status_code == 401
