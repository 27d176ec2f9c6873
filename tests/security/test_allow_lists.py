"""What nats-server says a connection may do is, to the letter, section 2 of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from authsvc import subjects
from authsvc.claims import Permissions, UserClaims
from authsvc.nkey import KeyPair, Prefix

if TYPE_CHECKING:
    from nats.aio.client import Client

    from tests.fixtures.nats import NatsKit

NAMES = ["alice@example.com", "alice.smith+x@example.com", "*@x.com", "{{name()}}@x.com", "ü@x.com"]


async def about(client: Client) -> dict[str, Any]:
    answer = await client.request("$SYS.REQ.USER.INFO", b"", timeout=5)
    found: dict[str, Any] = orjson.loads(answer.data)["data"]
    return found


@pytest.mark.parametrize("name", NAMES)
async def test_the_whole_allow_lists(nats_kit: NatsKit, name: str) -> None:
    u = subjects.token(name)
    found = await about(await nats_kit.connect(name))
    allowed = found["permissions"]
    assert sorted(allowed) == ["publish", "subscribe"]
    assert sorted(allowed["publish"].pop("allow")) == sorted([
        f"requests.{u}.>",
        f"responses.*.{u}.>",
        f"$JS.mail.API.CONSUMER.MSG.NEXT.requests_{u}.*",
        f"$JS.ACK.requests_{u}.>",
        f"$JS.ACK._.*.requests_{u}.>",
        f"$JS.mail.API.STREAM.MSG.GET.responses_{u}",
        "$SYS.REQ.USER.INFO",
    ])  # fmt: skip
    assert sorted(allowed["subscribe"].pop("allow")) == sorted(
        [f"responses.{u}.>", f"requests.*.{u}.>", f"_INBOX.{u}.>"]
    )
    # Nothing else: no deny, no leave to answer.
    assert allowed == {"publish": {}, "subscribe": {}}
    assert found["account"] == nats_kit.realm.people.public
    assert found["user_name"] == u


async def test_a_credential_narrowed_to_an_app(nats_kit: NatsKit) -> None:
    creds = nats_kit.user_creds("alice@example.com", app="a.b")
    found = (await about(await nats_kit.connect(creds)))["permissions"]
    u, app = "alice@example%2Ecom", "a%2Eb"
    assert sorted(found["publish"]["allow"]) == sorted([
        f"requests.{u}.*.{app}",
        f"requests.{u}.*.{app}.>",
        f"responses.*.{u}.{app}.>",
        f"$JS.mail.API.CONSUMER.MSG.NEXT.requests_{u}.{app}",
        f"$JS.ACK.requests_{u}.{app}.>",
        f"$JS.ACK._.*.requests_{u}.{app}.>",
        "$SYS.REQ.USER.INFO",
    ])  # fmt: skip
    assert sorted(found["subscribe"]["allow"]) == sorted([
        f"responses.{u}.*.{app}.>",
        f"requests.*.{u}.{app}",
        f"requests.*.{u}.{app}.>",
        f"_INBOX.{u}.>",
    ])  # fmt: skip


async def test_a_jwt_without_permissions_may_nothing(nats_kit: NatsKit) -> None:
    """The account's default permissions deny; in an account without them all is allowed."""

    def bare() -> tuple[UserClaims, KeyPair]:
        claims = UserClaims(
            subject="", name="bare", permissions=Permissions(), issued_at=nats_kit.realm.now
        )
        return claims, KeyPair.generate(Prefix.USER)

    realm = nats_kit.realm
    free = await nats_kit.connect(realm.issue(*_place(bare(), realm.control)))
    assert await about(free)
    refused: list[str] = []

    async def note(error: Exception) -> None:
        refused.append(str(error))

    for account in (realm.people, realm.mail, realm.system):
        refused.clear()
        client = await nats_kit.connect(realm.issue(*_place(bare(), account)), error_cb=note)
        await client.publish("requests.a.b.c", b"")
        await client.subscribe("_INBOX.bare.>")
        await client.flush()
        await client.flush()
        assert len(refused) == 2, refused
        assert all("permissions violation" in text for text in refused)


def _place(bare: tuple[UserClaims, KeyPair], account: Any) -> tuple[UserClaims, Any, KeyPair]:
    return bare[0], account, bare[1]
