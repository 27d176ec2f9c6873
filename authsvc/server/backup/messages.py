"""What waits in mailboxes: read from JetStream into a backup, and posted again.

By a user in MAIL that is made for this alone: its key is kept nowhere. It reads messages by
number and posts them under their own subjects; it changes and removes nothing.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
from nats.errors import Error as NatsError

from authsvc.claims import UserClaims
from authsvc.errors import InvalidBackup, KeyUnavailable, Unavailable
from authsvc.server.database import Database
from authsvc.server.keystore import Keystore
from authsvc.server.provision.bootstrap import load_material
from authsvc.server.provision.jetstream import JetStream
from authsvc.server.provision.service_logins import ServiceLogin
from authsvc.server.provision.service_users import archivist_user
from authsvc.server.tls import Trust

__all__ = ["open_mail_archive", "post", "waiting"]

_CONNECT_SECONDS = 5.0
_POST_SECONDS = 5.0
_STREAMS = ("requests_", "responses_")
_SUBJECT = re.compile(r"(requests|responses)(\.[A-Za-z0-9_@+%-]{1,200}){3,4}\.stored\Z")


@asynccontextmanager
async def open_mail_archive(
    database: Database, keystore: Keystore, urls: Sequence[str], trust: Trust | None = None
) -> AsyncIterator[JetStream]:
    """Connect to MAIL.

    Args:
        database: Of the service.
        keystore: Opens MAIL's signing key.
        urls: Of its nats-servers.
        trust: Makes the context for TLS; the system's authorities if None.

    Raises:
        KeyUnavailable: There is no key to sign in with.
        Unavailable: None can be reached.
    """

    def claims(subject: str, account: str, issued_at: int, expires: int) -> UserClaims:
        return archivist_user(
            subject=subject, account=account, issued_at=issued_at, expires=expires
        )

    async with database.reading() as session:
        material = await load_material(session)
    if material is None:
        raise KeyUnavailable("the service was never started: it has no mailboxes")
    login = ServiceLogin(database, keystore, material.mail_id, claims, urls=urls, tls=trust)
    try:
        await login.open(wait=_CONNECT_SECONDS)
        if login.client is None:
            raise Unavailable(f"no nats-server at {', '.join(urls)} can be reached")
        yield JetStream(lambda: login.client)
    finally:
        await login.close()


async def waiting(jetstream: JetStream) -> AsyncIterator[dict[str, Any]]:
    """Every message of every mailbox, as a line of a backup has it.

    Raises:
        Unavailable: nats-server does not answer.
    """
    for name in sorted(await jetstream.stream_names()):
        if not name.startswith(_STREAMS):
            continue
        number = 1
        call = f"STREAM.MSG.GET.{name}"
        while found := await jetstream.find(call, {"seq": number, "next_by_subj": ">"}):
            message = found["message"]
            number = message["seq"] + 1
            yield {
                "subject": message["subject"],
                "headers": message.get("hdrs", ""),
                "data": message.get("data", ""),
                "time": message["time"],
            }


async def post(jetstream: JetStream, messages: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
    """Store messages again; how many were, and how many no stream took.

    One that a stream has already, by its ``Nats-Msg-Id``, is not stored twice while nats-server
    remembers it. Ages begin anew.

    Raises:
        InvalidBackup: One is not a message of a mailbox.
        Unavailable: nats-server does not answer.
    """
    stored = refused = 0
    for message in messages:
        subject, headers, data = _parts(message)
        try:
            answer = await jetstream.client.request(
                subject, data, timeout=_POST_SECONDS, headers=headers or None
            )
            taken = "error" not in orjson.loads(answer.data)
        except (OSError, TimeoutError) as error:
            raise Unavailable(f"a message was not acknowledged ({type(error).__name__})") from error
        except (NatsError, orjson.JSONDecodeError):
            taken = False  # no stream has the subject: its owner has no mailbox any more
        stored, refused = stored + taken, refused + (not taken)
    return stored, refused


def _parts(message: Mapping[str, Any]) -> tuple[str, dict[str, str], bytes]:
    subject, head, data = (message.get(name) for name in ("subject", "headers", "data"))
    if not (isinstance(subject, str) and isinstance(head, str) and isinstance(data, str)):
        raise InvalidBackup("a message of the backup lacks something")
    if not _SUBJECT.match(subject):
        raise InvalidBackup("a message of the backup is for no mailbox")
    try:
        lines = base64.b64decode(head, validate=True).decode().split("\r\n")[1:]
        payload = base64.b64decode(data, validate=True)
    except (ValueError, binascii.Error):
        raise InvalidBackup("a message of the backup is not in base64") from None
    pairs = [line.partition(":") for line in lines if line]
    # What else a header could ask of nats-server, no client of ours asks.
    return subject, {name: value.strip() for name, _, value in pairs if name in _KEPT}, payload


_KEPT = frozenset({"Nats-Msg-Id"})
