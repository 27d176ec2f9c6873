"""Who may try to sign in how often: over HTTP, at two replicas, on both databases."""

from __future__ import annotations

from itertools import count
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update
from sqlmodel import col

from authsvc.server import metrics
from authsvc.server.models import AttemptCount
from tests.fixtures.authsvc import LiveService, StartService
from tests.server.attempts.conftest import Replicas, StartReplicas

HERE, ELSEWHERE = "203.0.113.9", "198.51.100.7"
shared_on_sqlite = pytest.mark.parametrize("shared_database_url", ["sqlite"], indirect=True)
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

_numbers = count(10)


@pytest.fixture
def here() -> str:
    """An address that no other test comes from."""
    return f"203.0.113.{next(_numbers)}"


def refused(answer: httpx.Response, seconds: int) -> bool:
    """Whether it is the refusal of a limit whose window has at most so many seconds."""
    if answer.status_code != 429:
        return False
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == "urn:authsvc:problem:too-many-requests"
    assert 0 < int(answer.headers["retry-after"]) <= seconds + 1
    return True


async def limited(replicas: Replicas) -> list[dict[str, Any]]:
    """The audit's events of limits."""
    answer = await replicas.service.admin("GET", "/v1/admin/audit?action=login.limited")
    return list(answer.json()["items"])


async def fail(replicas: Replicas, times: int, email: str, address: str) -> None:
    """So many failures, at both replicas in turn."""
    for number in range(times):
        answer = await replicas.login(email, address, replica=number % 2, good=False)
        assert answer.status_code == 401, answer.text


async def test_failures_shut_out_one_identity_from_one_address_at_all_replicas(
    replicas: Replicas,
    here: str,
) -> None:
    counted = metrics.LIMITED.labels("failures")._value.get()
    await fail(replicas, 5, "alice@example.com", here)
    # From now on nobody is her from there, at either replica, also who has her token.
    for replica in (0, 1):
        for good in (True, False):
            answer = await replicas.login("Alice@Example.com ", here, replica=replica, good=good)
            assert refused(answer, 900), answer.text
    assert metrics.LIMITED.labels("failures")._value.get() == counted + 4
    # She herself is elsewhere, and others are there.
    assert (await replicas.login("alice@example.com", ELSEWHERE)).status_code == 201
    assert (await replicas.login("bob@example.com", here)).status_code == 201
    (event,) = await limited(replicas)
    assert event["target"] == {"kind": "address", "id": here}
    assert event["address"] == here
    assert event["details"]["identity"] == "alice@example.com"
    assert (event["details"]["limit"], event["details"]["bound"]) == ("failures", 5)


async def test_a_login_forgets_failures_before_it(replicas: Replicas, here: str) -> None:
    for _ in range(2):
        await fail(replicas, 4, "alice@example.com", here)
        assert (await replicas.login("alice@example.com", here)).status_code == 201
    assert await limited(replicas) == []


async def test_a_window_ends(start_replicas: StartReplicas) -> None:
    replicas = await start_replicas(login_failures=1)
    await fail(replicas, 1, "alice@example.com", HERE)
    assert refused(await replicas.login("alice@example.com", HERE, replica=1), 900)
    async with replicas.service.running.database.writing() as session:
        await session.execute(update(AttemptCount).values(started_at=0, ends_at=900))
    assert (await replicas.login("alice@example.com", HERE, replica=1)).status_code == 201


async def test_the_rate_of_an_address_holds_across_replicas(
    start_replicas: StartReplicas,
) -> None:
    rate = 20
    replicas = await start_replicas(login_rate=rate)
    answers = [
        await replicas.login(f"user{number}@example.com", HERE, replica=number % 2)
        for number in range(rate + 4)
    ]
    passed = [answer.status_code for answer in answers].count(201)
    # In the last part of a limit each try is told to the others at once.
    assert passed == rate
    assert all(refused(answer, 60) for answer in answers[rate:])
    assert (await replicas.login("alice@example.com", ELSEWHERE)).status_code == 201
    (event,) = await limited(replicas)
    assert event["details"]["limit"] == "rate"
    assert event["details"]["network"] == HERE


@on_sqlite
async def test_a_network_of_ipv6_is_one_address(start_replicas: StartReplicas) -> None:
    replicas = await start_replicas(login_rate=3)
    for number in range(3):
        answer = await replicas.login("alice@example.com", f"2001:db8::{number:x}")
        assert answer.status_code == 201, answer.text
    assert refused(await replicas.login("alice@example.com", "2001:db8::ffff"), 60)
    assert (await replicas.login("alice@example.com", "2001:db8:0:1::1")).status_code == 201


@on_sqlite
async def test_loopback_and_headers_of_nobody_we_trust_do_not_count(
    start_service: StartService,
) -> None:
    service: LiveService = await start_service(login_rate=1, login_failures=1)
    for _ in range(4):
        answer = await service.login("alice@example.com", token="not.a.token")
        assert answer.status_code == 401
        assert (await service.login("alice@example.com")).status_code == 201
    async with service.running.database.reading() as session:
        assert await session.scalar(select(func.count(col(AttemptCount.mark)))) == 0


@shared_on_sqlite
@pytest.mark.parametrize("prefix", ["authsvc_enrol_", "authsvc_device_"])
async def test_guessing_keys_is_limited_whatever_name_comes_with_it(
    replicas: Replicas, here: str, prefix: str
) -> None:
    for number in range(6):
        answer = await replicas.login(
            "", here, token=f"{prefix}{number}", body={"username": f"machine{number}"}
        )
        assert answer.status_code == 401 if number < 5 else refused(answer, 900)


@shared_on_sqlite
async def test_guessing_user_codes_is_limited(replicas: Replicas, here: str) -> None:
    headers = {"X-Forwarded-For": here}
    for number in range(7):
        answer = await replicas.clients[number % 2].post(
            "/device", data={"user_code": "BCDF-GHJK"}, headers=headers
        )
        assert answer.status_code == (400 if number < 5 else 429)
    assert "too many failed tries" in answer.text
    assert int(answer.headers["retry-after"]) > 0


@shared_on_sqlite
async def test_guessing_keys_and_links_of_the_console_is_limited(
    replicas: Replicas,
    here: str,
) -> None:
    key, headers = await replicas.service.api_key("admin"), {"X-Forwarded-For": here}
    guesses = ["authsvc_x", "once_y", "authsvc_z", "once_x", "once_z", "once_x", key]
    for number, guess in enumerate(guesses):
        answer = await replicas.clients[number % 2].post(
            "/console/sign-in", data={"secret": guess}, headers=headers
        )
        assert answer.status_code == (401 if number < 5 else 429)
    assert int(answer.headers["retry-after"]) > 0
    elsewhere = await replicas.clients[0].post(
        "/console/sign-in", data={"secret": key}, headers={"X-Forwarded-For": ELSEWHERE}
    )
    assert elsewhere.status_code == 303
