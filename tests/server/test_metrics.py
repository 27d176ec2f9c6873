"""What ``/metrics`` shows: by Prometheus's conventions, and no more of it than is bounded."""

from __future__ import annotations

import re
import secrets

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from authsvc.nkey import KeyPair, Prefix
from authsvc.server import metrics
from authsvc.server.metrics import NatsStatistics
from authsvc.server.provision.answers import read_statistics
from tests.fixtures.authsvc import LiveService
from tests.fixtures.waiting import until

Samples = dict[str, float]


async def samples(service: LiveService) -> Samples:
    text = (await service.http.get("/metrics")).text
    return {
        sample.name + "".join(f",{k}={v}" for k, v in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_issuing_and_refusing_are_counted(service: LiveService) -> None:
    before = await samples(service)
    answer = await service.login("alice@example.com")
    assert answer.status_code == 201
    key = service.keys["alice@example.com"]
    assert (await service.renew(answer.json()["jwt"], key)).status_code == 201
    assert (await service.login("bob@example.com", token="no-token")).status_code == 401
    # Paths and methods of the caller's own choosing make no series of their own.
    for path in (
        "/none",
        f"/none/{secrets.token_hex(4)}",
        f"/v1/users/{secrets.token_hex(4)}/apps",
    ):
        await service.http.request("TRACE", path)
    after = await samples(service)

    def rose(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert rose("authsvc_credentials_issued_total,by=login,method=syftbox") == 1
    assert rose("authsvc_credentials_issued_total,by=renewal,method=") == 1
    assert rose("authsvc_requests_refused_total,problem=unauthenticated") == 1
    posts = "authsvc_http_requests_total,method=POST,route=/v1/credentials,status="
    assert (rose(posts + "201"), rose(posts + "401")) == (1, 1)
    timed = "authsvc_http_request_duration_seconds_count,method=POST,route=/v1/credentials"
    assert rose(timed) == 2
    assert rose("authsvc_http_requests_total,method=other,route=none,status=404") >= 2
    assert not any("none/" in name or "TRACE" in name for name in after)


async def test_nats_servers_and_the_database_are_shown(service: LiveService) -> None:
    await service.login("alice@example.com")
    key = KeyPair.generate(Prefix.USER)
    found = (await service.login("bob@example.com", key)).json()
    path = f"/v1/credentials/{found['id']}"
    before = await samples(service)
    assert (await service.call("DELETE", path, "DPoP", found["jwt"], key)).status_code == 200
    after = await samples(service)
    for name in (
        "authsvc_propagation_duration_seconds_count,state=applied",
        "authsvc_push_duration_seconds_count,result=applied",
        "authsvc_database_transaction_duration_seconds_count,kind=write",
        "authsvc_credentials_revoked_total",
    ):
        assert after[name] > before.get(name, 0), name
    assert (after["authsvc_servers"], after["authsvc_servers_behind"]) == (1, 0)
    assert after["authsvc_nats_connected,user=system"] == 1
    assert after["authsvc_database_pool_size"] >= 1
    assert after["authsvc_database_connections,state=in_use"] >= 0

    async def told() -> bool:
        return (await samples(service)).get("authsvc_nats_connections,server=authsvc-nats", 0) > 0

    await until(told, 15)  # a server tells every ten seconds
    shown = await samples(service)
    assert shown["authsvc_nats_messages_total,direction=in,server=authsvc-nats"] > 0
    assert shown["authsvc_nats_memory_bytes,server=authsvc-nats"] > 1e6


async def test_mailboxes_are_measured(service: LiveService) -> None:
    key = KeyPair.generate(Prefix.USER)
    jwt = (await service.login("carol@example.com", key)).json()["jwt"]
    body = {"offline": True}
    made = await service.call("PUT", "/v1/me/apps/chat", "DPoP", jwt, key, json=body)
    assert made.status_code in {200, 201}, made.text
    service.running.mail.reconciler.nudge()
    await service.running.mail.reconciler._mailboxes.measure()
    shown = await samples(service)
    assert shown["authsvc_mailbox_messages,kind=requests"] == 0
    assert shown["authsvc_mailbox_fullest_messages,kind=responses"] == 0
    metrics.MAILBOX_MESSAGES.labels("requests").set(-1)
    await service.running.mail.reconciler._mailboxes.measure()
    assert (await samples(service))["authsvc_mailbox_messages,kind=requests"] == 0


def test_names_follow_the_conventions() -> None:
    units = ("_seconds", "_bytes", "_ratio")
    for family in REGISTRY.collect():
        if not family.name.startswith("authsvc_"):
            continue
        assert re.fullmatch(r"[a-z][a-z0-9_]+[a-z]", family.name)
        assert family.documentation
        assert not family.name.endswith("_total")  # the text has it, for counters
        if family.type == "histogram":
            assert family.name.endswith(units), family.name
        for unit in ("milliseconds", "_ms", "kilobytes", "percent"):
            assert unit not in family.name
        labels = {label for sample in family.samples for label in sample.labels}
        assert not labels & {"user", "username", "path", "address"} - {"user"}


@pytest.mark.parametrize("body", [b"", b"[]", b'{"statsz": 1}', b'{"statsz": {"cpu": "x"}}'])
def test_what_is_no_statistics_is_none(body: bytes) -> None:
    assert read_statistics(body) is None


def test_a_server_s_statistics() -> None:
    traffic = '{"msgs": 3, "bytes": 4}'
    body = (
        '{"server": {"id": "N"}, "statsz": {"connections": 1, "subscriptions": 2, "sent": '
        f'{traffic}, "received": {traffic}, "slow_consumers": 0, "cpu": 1.5, "mem": 9}}}}'
    )
    assert read_statistics(body.encode()) == NatsStatistics(1, 2, (3, 4), (3, 4), 0, 1.5, 9)
