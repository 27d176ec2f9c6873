"""Three nats-servers that keep each stream three times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from nats.errors import Error as NatsError

from authsvc import subjects
from authsvc.errors import Unavailable
from authsvc.server.policy import JS_PREFIX
from authsvc.server.provision.jetstream import JetStream
from authsvc.server.provision.mail_streams import Bounds, Desired
from authsvc.server.provision.mailbox import Mailboxes
from tests.fixtures.waiting import until

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from tests.fixtures.nats import NewNats

ALICE, BOB = "alice@example.com", "bob@example.com"
A, B = subjects.token(ALICE), subjects.token(BOB)


async def ask(client: Client, subject: str, body: bytes) -> Msg | None:
    """An answer; None while a cluster elects who leads."""
    try:
        message: Msg = await client.request(subject, body, timeout=2, old_style=True)
    except (NatsError, TimeoutError):
        return None
    return message


async def test_what_waits_outlives_a_server(new_nats: NewNats) -> None:
    kit = new_nats(count=3)
    provisioner = await kit.connect(kit.realm.provisioner_creds(), server=kit.servers[1])
    jetstream = JetStream(lambda: provisioner)
    mailboxes = Mailboxes(jetstream, jetstream, Bounds(replicas=3, max_bytes=1 << 20))

    async def made(**values: Any) -> bool:
        try:
            await mailboxes.apply(Desired(owner="usr_1", token=A, responses=True, **values))
        except Unavailable:
            return False  # nobody leads yet
        return True

    await until(lambda: made(apps=("chat",)), 40)
    info = await jetstream.ask(f"STREAM.INFO.requests_{A}")
    assert info["config"]["num_replicas"] == 3
    assert len(info["cluster"]["replicas"]) == 2
    sender = await kit.connect(BOB, server=kit.servers[1])
    taker = await kit.connect(ALICE, server=kit.servers[2])
    sent = [b"%d" % number for number in range(5)]
    for body in sent:
        receipt = await ask(sender, f"requests.{B}.{A}.chat.stored", body)
        assert receipt is not None
        assert orjson.loads(receipt.data)["stream"] == f"requests_{A}"
    kit.servers[0].stop(kill=True)
    taken: set[bytes] = set()

    async def all_taken() -> bool:
        pull = orjson.dumps({"batch": 1, "expires": 1_000_000_000})
        found = await ask(taker, f"{JS_PREFIX}.CONSUMER.MSG.NEXT.requests_{A}.chat", pull)
        if found is not None and found.reply.startswith("$JS.ACK."):
            taken.add(found.data)
            await ask(taker, found.reply, b"+ACK")
        return taken == set(sent)

    await until(all_taken, 40)
    # With two of three there is a majority: mailboxes are changed as before.
    await until(lambda: made(apps=("chat", "other")), 40)
    listed = await jetstream.ask(f"CONSUMER.NAMES.requests_{A}")
    assert set(listed["consumers"]) == {"chat", "other"}
