"""What waits in mailboxes goes along, and is handed out where the service is restored."""

from __future__ import annotations

import base64
import io
import time
from pathlib import Path
from typing import Any

import pytest

from authsvc.errors import InvalidBackup, Unavailable
from authsvc.server.backup import Reader, open_mail_archive, post, waiting, write_backup
from authsvc.server.backup import messages as messages_module
from authsvc.server.provision.service_users import archivist_user
from tests.fixtures.authsvc import LiveService, live_service
from tests.fixtures.waiting import until
from tests.server.backup.conftest import IDENTITY, RestoreTo
from tests.server.mailboxes.post import names, person


async def backup(service: LiveService) -> bytes:
    file, running = io.BytesIO(), service.running
    mail = open_mail_archive(running.database, running.keystore, [service.nats_url])
    async with mail as jetstream:
        await write_backup(
            running.database,
            service.settings,
            file,
            [IDENTITY.recipient],
            now=time.time(),
            messages=waiting(jetstream),
        )
    return file.getvalue()


def read(sealed: bytes) -> Reader:
    reader = Reader(io.BytesIO(sealed), [IDENTITY])
    for _ in reader.rows():
        pass
    return reader


async def put_back(service: LiveService, messages: list[dict[str, Any]]) -> tuple[int, int]:
    running = service.running
    mail = open_mail_archive(running.database, running.keystore, [service.nats_url])
    async with mail as jetstream:
        return await post(jetstream, messages)


async def test_what_waits_is_handed_out_again(
    tmp_path: Path, sqlite_url: str, restore_to: RestoreTo
) -> None:
    bodies = [b"one", b"\x00\xff two", b"three" * 1000]
    async with (
        live_service(tmp_path / "data", sqlite_url) as service,
        person(service, "alice@example.com") as alice,
        person(service, "bob@example.com") as bob,
    ):
        await alice.done("PUT", "/v1/me/apps/chat", json={"offline": True})
        ids = [(await bob.submit(alice, content=body))["id"] for body in bodies]
        sealed = await backup(service)
        first = await alice.pull()
    reader = read(sealed)
    messages = list(reader.messages())
    assert reader.ending is not None
    assert reader.ending.messages == len(messages) == 3
    assert base64.b64decode(messages[0]["data"]) == first.data
    assert first.data not in sealed
    settings, _ = await restore_to(sealed)
    async with live_service(settings.data_dir, settings.database_url) as service:
        # nats-server is new here: the service finds that the streams are missing.
        await until(lambda: _has_streams(service), 60)
        assert await put_back(service, messages) == (3, 0)
        assert await put_back(service, messages) == (3, 0)  # known by their Nats-Msg-Id
        other = {**messages[0], "subject": "requests.bob@example%2Ecom.carol.chat.stored"}
        assert await put_back(service, [other]) == (0, 1)
        async with person(service, "alice@example.com", key=alice.key) as again:
            handed = [await again.pull() for _ in bodies]
            assert [message.headers["Nats-Msg-Id"] for message in handed if message.headers] == ids
            assert handed[0].data == first.data
            assert (await again.pull()).data == b""  # and no fourth


async def _has_streams(service: LiveService) -> bool:
    return len(await names(service)) > 0


WRONG: list[dict[str, Any]] = [
    {"subject": "$JS.API.STREAM.DELETE.requests_a", "headers": "", "data": ""},
    {"subject": "requests.a.b.c", "headers": "", "data": ""},
    {"subject": "requests.*.b.c.stored", "headers": "", "data": ""},
    {"subject": "requests.a.b.c.stored x", "headers": "", "data": ""},
    {"subject": "requests.a.b.c.stored\r\nPUB x 0", "headers": "", "data": ""},
    {"subject": "requests.a.b.c.stored", "headers": "", "data": "!"},
    {"subject": "requests.a.b.c.stored", "headers": "/w==", "data": ""},
    {"subject": "requests.a.b.c.stored", "data": ""},
    {"subject": 1, "headers": "", "data": ""},
]


async def test_a_message_is_for_a_mailbox_or_is_refused(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages_module, "_CONNECT_SECONDS", 0.5)
    async with live_service(tmp_path / "data", sqlite_url) as service:
        for wrong in WRONG:
            with pytest.raises(InvalidBackup):
                await put_back(service, [wrong])
        running = service.running
        with pytest.raises(Unavailable, match="can be reached"):
            async with open_mail_archive(
                running.database, running.keystore, ["nats://127.0.0.1:1"]
            ):
                pass


def test_the_archivist_changes_nothing() -> None:
    claims = archivist_user(subject="U", account="A", issued_at=1)
    assert set(claims.permissions.publish.allow) == {
        "$JS.API.STREAM.NAMES",
        "$JS.API.STREAM.MSG.GET.*",
        "requests.*.*.*.stored",
        "responses.*.*.*.*.stored",
    }
    assert tuple(claims.permissions.subscribe.allow) == ("_INBOX.authsvc-archivist.>",)
