"""Requests that die: handed out as often as they may, and refused each time."""

from __future__ import annotations

from authsvc import subjects
from authsvc.server.provision.mail_streams import Bounds
from tests.fixtures.waiting import until
from tests.server.mailboxes.post import Person

PATH = "/v1/me/apps/chat/dead-letters"
DELIVERIES = Bounds().max_deliver


async def ready(alice: Person, bob: Person) -> None:
    await alice.done("PUT", "/v1/me/apps/chat", json={"offline": True})
    await bob.done("PUT", "/v1/me/mailbox", json={"responses": True})


async def kill(alice: Person, count: int = 1) -> None:
    """Refuse each waiting request as often as it is handed out."""
    for _ in range(DELIVERIES * count):
        message = await alice.pull(no_wait=False, expires=10_000_000_000)
        assert message.subject.startswith("requests."), message.headers
        await alice.client.publish(message.reply, b"-NAK")
    # While a pull waits, nats-server notices at once; a slow one, with a refusal that comes late.
    for _ in range(4):
        message = await alice.pull(no_wait=False, expires=300_000_000)
        assert message.headers is not None
        assert message.headers["Status"] == "408"
        if len((await alice.done("GET", PATH))["items"]) >= count:
            break


async def letters(alice: Person, count: int = 1) -> list[dict[str, object]]:
    async def there() -> bool:
        return len((await alice.done("GET", PATH))["items"]) == count

    await until(there, 20)
    items: list[dict[str, object]] = (await alice.done("GET", PATH))["items"]
    return items


def stored_subject(bob: Person, alice: Person, request_id: str) -> str:
    return subjects.Response(bob.name, alice.name, "chat", request_id, stored=True).text
