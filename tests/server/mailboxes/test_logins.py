"""The service's own users in MAIL and among people follow their accounts' keys."""

from __future__ import annotations

from typing import Any

import pytest

from authsvc.rpc._wire.frames import decode_response
from tests.fixtures.authsvc import LiveService
from tests.fixtures.waiting import until
from tests.server.mailboxes.dying import kill, letters, ready, stored_subject
from tests.server.mailboxes.post import person


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind: what is asked here is nats-server."""
    return sqlite_url


async def keys(service: LiveService, **body: Any) -> dict[str, Any]:
    answer = await service.admin("POST", "/v1/admin/keys/rotate", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_mail_goes_on_after_both_accounts_lost_their_first_keys(
    service: LiveService,
) -> None:
    listed = (await service.admin("GET", "/v1/admin/keys?limit=1000")).json()["items"]
    for account in ("mail", "people"):
        (old,) = [it for it in listed if (it["account"], it["purpose"]) == (account, "signing")]
        await keys(service, account=account)
        body = {"account": account, "step": "retire", "public_key": old["public_key"]}
        await keys(service, **body, confirm=True)
    async with (
        person(service, "alice@example.com") as alice,
        person(service, "bob@example.com") as bob,
    ):

        async def applied() -> bool:
            answer = await alice.call("PUT", "/v1/me/apps/chat", json={"offline": True})
            return bool(answer.json()["propagation"]["state"] == "applied")

        await until(applied, 30)
        await ready(alice, bob)
        sent = await bob.submit(alice)
        await kill(alice)
        await letters(alice)
        subject = stored_subject(bob, alice, sent["id"])

        async def answered() -> bool:
            found = await bob.read(subject)
            return found is not None and decode_response(found).status == 500

        await until(answered, 20)
