"""Requests that wait, while the service runs: its connections for them and what goes on by itself.

async with open_mail(store, settings, urls) as mail:
    await mail.settle(token)
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from nats.aio.client import Client

from authsvc.claims import UserClaims
from authsvc.server.models import DeadLetter
from authsvc.server.provision.accounts import PROVISIONER_USER
from authsvc.server.provision.dead_letters import DeadLetters
from authsvc.server.provision.jetstream import JetStream
from authsvc.server.provision.mail_reconcile import MailReconciler, Settled
from authsvc.server.provision.mail_streams import ADVISORIES, DEAD_LETTERS, Bounds
from authsvc.server.provision.mailbox import Mailboxes
from authsvc.server.provision.service_logins import ServiceLogin, stored_key
from authsvc.server.provision.service_users import herald_user, postmaster_user, provisioner_user
from authsvc.server.settings import Settings
from authsvc.server.store import Store
from authsvc.server.tls import Trust

__all__ = ["Mail", "open_mail"]


@dataclass(frozen=True, slots=True)
class Mail:
    """What routes reach of it.

    Args:
        reconciler: Makes streams agree with rows.
        letters: Takes dead letters out, and puts them back.
        streams: Of MAIL, to look at.
    """

    reconciler: MailReconciler
    letters: DeadLetters
    streams: JetStream

    async def settle(self, token: str) -> Settled:
        """Make a committed change of a user's mailbox, and wait for it for a while.

        Args:
            token: The user's name in subjects.
        """
        return await self.reconciler.settle(token)

    async def unacknowledged(self, token: str, app: str) -> int | None:
        """How many requests of an app were handed out and not acknowledged, if that is known."""
        return await self.reconciler.unacknowledged(token, app)

    async def put_back(self, letter: DeadLetter) -> None:
        """Let a dead letter be handed out again.

        Args:
            letter: With its payload.

        Raises:
            JetStreamRefused: The stream does not take it.
            Unavailable: No stream has its subject, or nats-server does not answer.
        """
        await self.letters.put_back(letter)


@asynccontextmanager
async def open_mail(
    store: Store, settings: Settings, urls: Sequence[str], trust: Trust | None = None
) -> AsyncIterator[Mail]:
    """Connect, in the background, and begin.

    Args:
        store: Open.
        settings: With the bounds of a mailbox.
        urls: Of the nats-servers; without any, every change stays pending.
        trust: For connections by TLS; the system's authorities if None.

    Raises:
        KeyUnavailable: A key is missing.
        StoreUnavailable: The database can't be read.
    """
    async with AsyncExitStack() as stack:
        provisioner, postmaster, herald = logins = await _logins(store, urls, trust)
        bounds = Bounds(replicas=settings.mailbox_replicas, max_bytes=settings.mailbox_max_bytes)

        streams = JetStream(lambda: provisioner.client)
        taking = JetStream(lambda: postmaster.client)

        async def tend() -> None:
            for login in logins:
                await login.tend(time.time())

        reconciler = MailReconciler(
            store.database,
            Mailboxes(streams, taking, bounds),
            lambda: provisioner.away,
            tend,
        )
        letters = DeadLetters(
            store.database,
            taking,
            JetStream(lambda: herald.client),
            settings.mailbox_max_bytes,
        )

        async def opened(_client: Client) -> None:
            reconciler.nudge()

        for login in logins:
            stack.push_async_callback(login.close)
        await provisioner.open(opened)
        await postmaster.open()
        await herald.open()
        if urls:
            stack.push_async_callback(reconciler.stop)
            stack.push_async_callback(letters.stop)
            reconciler.start()
            letters.start()
        yield Mail(reconciler, letters, streams)


async def _logins(
    store: Store, urls: Sequence[str], trust: Trust | None
) -> tuple[ServiceLogin, ServiceLogin, ServiceLogin]:
    material = store.material
    async with store.database.reading() as session:
        key = await stored_key(session, store.keystore, material.mail_id, PROVISIONER_USER)

    def provisioner(subject: str, account: str, issued_at: int, expires: int) -> UserClaims:
        return provisioner_user(
            subject=subject, account=account, issued_at=issued_at, expires=expires
        )

    def postmaster(subject: str, account: str, issued_at: int, expires: int) -> UserClaims:
        return postmaster_user(
            subject=subject,
            account=account,
            stream=ADVISORIES,
            consumer=DEAD_LETTERS,
            issued_at=issued_at,
            expires=expires,
        )

    def herald(subject: str, account: str, issued_at: int, expires: int) -> UserClaims:
        return herald_user(subject=subject, account=account, issued_at=issued_at, expires=expires)

    mail = (store.database, store.keystore, material.mail_id)
    return (
        ServiceLogin(*mail, provisioner, urls=urls, key=key, tls=trust),
        ServiceLogin(*mail, postmaster, urls=urls, tls=trust),
        ServiceLogin(
            store.database, store.keystore, material.people_id, herald, urls=urls, tls=trust
        ),
    )
