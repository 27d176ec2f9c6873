"""Whose streams they are: users who go, names that come back, replicas side by side."""

from __future__ import annotations

import asyncio

import pytest

from authsvc.server.mailroom import open_mail
from authsvc.server.policy import stream_names
from authsvc.server.store import open_store
from tests.fixtures.authsvc import LiveService
from tests.fixtures.waiting import until
from tests.server.mailboxes.post import Person, config, names, streams_of


@pytest.fixture
def service(shared_service: LiveService) -> LiveService:
    """One for all: each test has people of its own."""
    return shared_service


async def test_deleting_a_user_deletes_the_streams(
    service: LiveService, alice: Person, bob: Person
) -> None:
    for who in (alice, bob):
        await who.done("PUT", "/v1/me/apps/chat", json={"offline": True})
        await who.done("PUT", "/v1/me/mailbox", json={"responses": True})
    await bob.submit(alice)
    answer = await service.admin("POST", f"/v1/admin/users/{alice.name}/disable")
    assert answer.status_code == 200
    # Who is disabled loses nothing, and still gets mail.
    assert "seq" in await bob.submit(alice)
    assert len(await names(service, alice, bob)) == 4
    answer = await service.admin("DELETE", f"/v1/admin/users/{alice.name}")
    assert answer.status_code == 200
    assert await names(service, alice, bob) == set(stream_names(bob.token))


async def test_who_has_a_name_later_gets_nothing_of_who_had_it(
    service: LiveService, alice: Person, bob: Person
) -> None:
    await alice.done("PUT", "/v1/me/apps/chat", json={"offline": True})
    await bob.submit(alice)
    stream = stream_names(alice.token)[0]
    # As after an outage in which the first alice was deleted, before anything was tidied up.
    found = await config(service, f"STREAM.INFO.{stream}")
    assert found is not None
    assert found["metadata"]["authsvc.user"].startswith("usr_")
    theirs = {**found, "metadata": {"authsvc.user": "usr_of_old"}}
    await streams_of(service).ask(f"STREAM.UPDATE.{stream}", theirs)
    await alice.done("PUT", "/v1/me/apps/chat", json={"offline": True})
    assert (await alice.pull()).headers["Status"] == "404"  # type: ignore[index]
    assert (await config(service, f"STREAM.INFO.{stream}"))["metadata"] | found["metadata"] == (  # type: ignore[index]
        found["metadata"]
    )


async def test_two_replicas_change_one_mailbox(service: LiveService, alice: Person) -> None:
    async with open_store(service.settings) as store:
        urls = [service.nats_url]
        async with open_mail(store, service.settings, urls) as other:
            await until(lambda: other.reconciler._away() == 0, 20)
            mail = service.running.mail

            async def toggle(app: str) -> None:
                for offline in (True, False, True):
                    body = {"offline": offline}
                    await alice.done("PUT", f"/v1/me/apps/{app}", json=body)

            async def look() -> None:
                for _ in range(10):
                    await other.settle(alice.token)
                    other.reconciler.nudge()
                    mail.reconciler.nudge()

            await asyncio.gather(toggle("one"), toggle("two"), look(), look())
            both = await asyncio.gather(mail.settle(alice.token), other.settle(alice.token))
            assert [found.state for found in both] == ["applied", "applied"]
            requests, _ = stream_names(alice.token)
            found = await config(service, f"STREAM.INFO.{requests}")
            assert found is not None
            assert set(found["subjects"]) == {
                f"requests.*.{alice.token}.{app}.stored" for app in ("one", "two")
            }
            listed = await streams_of(service).ask(f"CONSUMER.NAMES.{requests}")
            assert set(listed["consumers"]) == {"one", "two"}
