"""Mailboxes, made over HTTP by who wants one, or by the thousand with the service's own code."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from authsvc import subjects
from authsvc.claims import UserClaims
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.mailboxes.change import DEFAULT_MAX_AGE, DEFAULT_MAX_PENDING
from authsvc.server.models import App, Mailbox, User, new_id
from authsvc.server.provision.accounts import PROVISIONER_USER
from authsvc.server.provision.jetstream import JetStream
from authsvc.server.provision.mail_streams import Bounds, Desired
from authsvc.server.provision.mailbox import Mailboxes
from authsvc.server.provision.service_logins import ServiceLogin, stored_key
from authsvc.server.provision.service_users import provisioner_user
from authsvc.server.store import Store
from tests.fixtures.authsvc import access_token
from tests.fixtures.cluster import ReplicatedService

MAX_BYTES = 768 << 10
"""Of each stream: nats-server sets as much aside, and 20,000 of them shall fit a disk."""
STREAMS = 2
APP = "notes"


def email(number: int) -> str:
    return f"user{number:06}@example.com"


async def make(service: ReplicatedService, number: int) -> tuple[float, float]:
    """Log somebody in and make a mailbox; seconds for the stream of responses and for the app."""
    key, token = KeyPair.generate(Prefix.USER), access_token(email(number))
    replica = service.replicas[0]
    answer = await replica.call("POST", "/v1/credentials", "Bearer", token, key)
    jwt, took = answer.raise_for_status().json()["jwt"], []
    for path, body in (
        ("/v1/me/mailbox", {"responses": True}),
        (f"/v1/me/apps/{APP}", {"offline": True}),
    ):
        began = time.perf_counter()
        answer = await replica.call("PUT", path, "DPoP", jwt, key, json=body)
        took.append(time.perf_counter() - began)
        propagation = answer.raise_for_status().json()["propagation"]
        assert propagation["state"] == "applied", propagation
    return took[0], took[1]


async def make_directly(service: ReplicatedService, first: int, last: int, at_once: int) -> float:
    """Rows and streams, as the API makes them; the seconds that the streams took."""
    now = int(time.time())
    users = [
        User(
            id=new_id("usr"),
            username=email(number),
            token=subjects.token(email(number)),
            kind="email",
            created_at=now,
        )
        for number in range(first, last)
    ]
    gate = asyncio.Semaphore(at_once)
    async with service.opened() as store, looking(service, store) as jetstream:
        async with store.database.writing() as session:
            session.add_all(users)
            await session.flush()
            for user in users:
                session.add_all(rows(user.id, now))
            boxes = [Desired(user.id, user.token, (APP,), responses=True) for user in users]
        mailboxes = Mailboxes(
            jetstream, jetstream, Bounds(replicas=len(service.nodes), max_bytes=MAX_BYTES)
        )

        async def one(place: int) -> None:
            async with gate:
                await mailboxes.apply(boxes[place])
                if place % 1000 == 999:
                    print(f"{first + place + 1} mailboxes", file=sys.stderr)

        began = time.perf_counter()
        await asyncio.gather(*map(one, range(len(boxes))))
        return time.perf_counter() - began


def rows(user: str, now: int) -> tuple[Mailbox, App]:
    """Of a mailbox that nats-server has."""
    mailbox = Mailbox(
        user_id=user,
        responses=True,
        max_age=DEFAULT_MAX_AGE,
        max_pending=DEFAULT_MAX_PENDING,
        streams=STREAMS,
        applied=1,
        created_at=now,
    )
    app = App(id=new_id("app"), user_id=user, name=APP, token=APP, offline=True, created_at=now)
    return mailbox, app


@asynccontextmanager
async def looking(service: ReplicatedService, store: Store) -> AsyncIterator[JetStream]:
    """The JetStream API, as the service's own provisioner asks it."""

    def claims(subject: str, account: str, issued_at: int, expires: int) -> UserClaims:
        return provisioner_user(
            subject=subject, account=account, issued_at=issued_at, expires=expires
        )

    mail = store.material.mail_id
    async with store.database.reading() as session:
        key = await stored_key(session, store.keystore, mail, PROVISIONER_USER)
    urls = [node.url for node in service.nodes]
    login = ServiceLogin(store.database, store.keystore, mail, claims, urls=urls, key=key)
    await login.open(wait=10)
    try:
        yield JetStream(lambda: login.client)
    finally:
        await login.close()
