"""The service's clock is stepped by five minutes, either way, while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

import pytest

from authsvc.claims import decode_account
from authsvc.nkey import KeyPair, Prefix
from tests.faults.conftest import gets_in, ready
from tests.fixtures.authsvc import LiveService, access_token
from tests.fixtures.waiting import until

ALICE = "alice@example.com"
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


async def account_iat(service: LiveService) -> int:
    """``iat`` of the account JWT that nats-server has to hold."""
    answer = await service.http.get(f"/jwt/v1/accounts/{service.running.material.people}")
    return decode_account(answer.text).issued_at


@on_sqlite
@pytest.mark.parametrize("seconds", [300, -300])
async def test_a_clock_that_is_stepped_lets_nobody_in_who_was_revoked(
    service: LiveService, step_clock: Callable[[float], None], seconds: float
) -> None:
    right, key = time.time, KeyPair.generate(Prefix.USER)
    token = access_token(ALICE, iat=int(time.time()) - 400, exp=int(time.time()) + 3600)
    before = (await service.login(ALICE, key, token)).json()
    assert await gets_in(service, before["jwt"], key)
    first = await account_iat(service)
    step_clock(seconds)
    # A proof by the right clock is refused, and the refusal says which time it is here.
    proof = service.proof(key, "POST", "/v1/credentials", token, now=right())
    headers = {"Authorization": f"Bearer {token}", "DPoP": proof}

    told = 0.0

    async def told_the_time() -> bool:  # Date is made anew each second
        nonlocal told
        refused = await service.http.post("/v1/credentials", headers=headers)
        assert refused.status_code == 401
        told = parsedate_to_datetime(refused.headers["date"]).timestamp()
        return abs(told - time.time()) < 5

    await until(told_the_time)
    other = KeyPair.generate(Prefix.USER)
    proof = service.proof(other, "POST", "/v1/credentials", token, now=told)
    headers = {"Authorization": f"Bearer {token}", "DPoP": proof}
    during = await service.http.post("/v1/credentials", headers=headers)
    assert during.status_code == 201, during.text
    # What was issued by either time ends when it is revoked by this one.
    for credential in (before["id"], during.json()["id"]):
        answer = await service.admin("POST", f"/v1/admin/credentials/{credential}/revoke")
        assert answer.json()["propagation"]["state"] == "applied", answer.text
    second = await account_iat(service)
    assert second > first
    assert not await gets_in(service, before["jwt"], key)
    assert not await gets_in(service, during.json()["jwt"], other)
    assert (await service.renew(before["jwt"], key)).status_code == 409
    # And it stays so when the clock is right again.
    step_clock(0)
    await ready(service)
    assert not await gets_in(service, before["jwt"], key)
    assert not await gets_in(service, during.json()["jwt"], other)
    third = KeyPair.generate(Prefix.USER)
    after = (await service.login(ALICE, third, token)).json()
    assert await gets_in(service, after["jwt"], third)
    await service.admin("POST", f"/v1/admin/credentials/{after['id']}/revoke")
    assert await account_iat(service) > second
    assert not await gets_in(service, after["jwt"], third)


@on_sqlite
async def test_tokens_are_judged_by_the_stepped_clock(
    service: LiveService, step_clock: Callable[[float], None]
) -> None:
    """A token of a server whose clock is right, at a service whose clock is not."""
    now, key = int(time.time()), KeyPair.generate(Prefix.USER)
    token = access_token(ALICE, iat=now, exp=now + 200)

    async def status() -> int:
        return (await service.login(ALICE, key, token)).status_code

    assert await status() == 201
    step_clock(300)  # it has expired by this clock
    assert await status() == 401
    step_clock(-300)  # and by this one it is not made yet
    assert await status() == 401
    step_clock(-50)  # a minute is let pass: clocks are never quite the same
    assert await status() == 201
    step_clock(0)
    assert await status() == 201
