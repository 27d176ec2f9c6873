"""The desk: many orders for credentials, one transaction.

Orders that arrive while a transaction runs share the next one (``GroupCommit``), so a
durable commit is paid once for all of them. Within the transaction everything is read in a few
queries, decided in memory order by order, and written in a few statements; one order's refusal
never touches another. An answer leaves only after its row and audit event are committed.

Rows are locked in the order of their keys (PostgreSQL), so a revocation is either seen here, or
comes after and covers what was issued here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeGuard

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from authsvc import subjects
from authsvc.errors import AuthsvcError, Conflict, InvalidProof
from authsvc.server import attempts, policy
from authsvc.server.database import Database
from authsvc.server.driver import Driver, Outrun
from authsvc.server.group_commit import GroupCommit
from authsvc.server.sessions import locked, optimistic, rows
from authsvc.server.sessions.holders import Holders
from authsvc.server.sessions.orders import (
    Admission,
    Issued,
    Limits,
    Login,
    Order,
    Proved,
    Renewal,
)
from authsvc.server.sessions.proofs import SpentProofs
from authsvc.server.sessions.scoped import role_that_signs
from authsvc.server.sessions.signing import SigningDesk
from authsvc.server.sessions.tickets import use_up
from authsvc.server.sqlite_driver import SqliteDriver
from authsvc.server.turns import Turns

__all__ = ["Desk"]

_QUICK_SECONDS = 0.002
"""A commit that takes less is over before half of the logins are verified that share it."""
_HALF = 16
"""Logins that a batch has in any case: fewer are not worth a commit of their own."""
_TURN = 4
"""Logins that are verified in a turn of the event loop, where another process has the database."""


class Desk:
    """Where credentials are issued.

    Args:
        database: Where they are kept.
        signing: The account's signing keys.
        limits: What the settings say about every credential.
        proofs: The proofs that were used.
    """

    def __init__(
        self, database: Database, signing: SigningDesk, limits: Limits, proofs: SpentProofs
    ) -> None:
        self._proofs = proofs
        self._signing = signing
        self._limits = limits
        self._holders = Holders(limits)
        self._database = database
        self._turns = Turns(_TURN)
        self._way: Any = locked if database.is_sqlite else optimistic
        self._group: GroupCommit[Order, Issued] = GroupCommit(
            database,
            self._batch,
            sooner=self._sooner,
            coming=lambda: len(self._turns),
            share=self._share,
        )

    async def turn(self) -> None:
        """Return when whoever wants to order something shall be looked into.

        SQLite works in the event loop's own process: there nothing is gained by waiting.
        """
        if not self._database.is_sqlite:
            await self._turns.take()

    def _share(self, pending: int) -> int:
        """Half of them where the disk is quick: the others are looked into while it is written to.

        PostgreSQL has the turns for that.
        """
        database = self._database
        if not database.is_sqlite or database.commit_seconds > _QUICK_SECONDS:
            return pending
        return max(_HALF, pending // 2)

    def pending(self) -> int:
        """How many orders wait for their turn, or were taken and have no answer yet."""
        return self._group.pending + len(self._turns)

    def queued(self) -> int:
        """How many orders nothing was begun with."""
        return self._group.queued() + len(self._turns)

    def answered(self) -> int:
        """How many had one since the beginning."""
        return self._group.answered

    def usual(self) -> float:
        """How many seconds an order takes lately, while few others wait."""
        return self._group.usual

    async def order(self, order: Order) -> Issued:
        """Issue a credential, committed together with its audit event.

        Raises:
            InvalidProof: The proof was used before.
            InvalidToken: The JWT can't be renewed any more.
            KeyTaken: The nkey is another user's, or was narrowed to another app.
            KeyRevoked: The nkey is dead.
            TooManyRequests: Too many logins of this identity failed before.
            UserDisabled: An administrator disabled the user.
            UserUnknown: The user does not exist and is not created by logging in.
            NotFound: The user for whom an administrator asked does not exist.
            Conflict: That user is disabled.
            Forbidden: The user may not come in by auth callout, or not that often.
            ClaimsTooLarge: The JWT would not fit.
            StoreUnavailable: Nothing was committed.
            KeyUnavailable: There is no signing key to be used.
        """
        return await self._group.submit(order)

    async def order_within(self, session: AsyncSession, order: Order) -> Issued:
        """The same in a transaction that changes more; the edge commits.

        Args:
            session: Writing.
            order: What is wanted.

        Raises:
            Conflict: Somebody else used the key or the name at this very moment.
            AuthsvcError: As ``order`` does.
        """
        try:
            connection = await session.connection()
            (outcome,) = await connection.run_sync(self._batch, [order])
        except IntegrityError as error:
            raise Conflict("the nkey was used elsewhere at this moment; try again") from error
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def stop(self) -> None:
        """Answer what was ordered, then take nothing more."""
        await self._group.stop()

    async def _sooner(self, orders: list[Order]) -> list[Issued | Exception] | None:
        """The same as ``_batch`` in fewer steps, where nothing is in the way."""
        plain = [order for order in orders if _is_plain(order)]
        if len(plain) < len(orders):
            return None
        try:
            return await self._database.converse(lambda driver: self._directly(driver, plain))
        except Outrun:
            return None

    async def _directly(
        self, driver: Driver | SqliteDriver, orders: Sequence[Login | Renewal]
    ) -> list[Issued | Exception] | None:
        marks = self._proofs.mark_all([order.proof for order in orders])
        wanted = rows.wanted_by(orders, marks)
        seen = await self._way.look(driver, wanted, self._signing.account_id)
        keys = self._signing.opened_keys(seen.keys)
        if seen.failed or keys is None:
            return None
        named = {user.username: user for user in seen.users}
        book = rows.Book(named, seen.credentials, seen.grants, frozenset(seen.dead))
        new = [mark for mark in marks.ordered if mark not in seen.used]
        replayed = iter(marks.used(new))
        results = self._decide(orders, replayed, {}, book, keys, None)
        await self._way.write(driver, seen, new, book.parts())
        return results

    def _batch(self, connection: Connection, orders: list[Order]) -> list[Issued | Exception]:
        proofs = [order.proof for order in orders if isinstance(order, Proved)]
        marks = self._proofs.mark_all(proofs)
        account_id = self._signing.account_id
        book, new, failed, rows_of_keys = rows.open_book(connection, orders, marks, account_id)
        keys = self._signing.keys(connection, rows_of_keys)
        replayed = iter(marks.used(new))
        results = self._decide(orders, replayed, failed, book, keys, connection)
        book.write(connection)
        attempts.succeeded(
            connection,
            {
                order.attempt
                for order, result in zip(orders, results, strict=True)
                if isinstance(order, Login | Admission)
                and order.attempt in failed
                and isinstance(result, Issued)
            },
        )
        return results

    def _decide(  # noqa: PLR0917 - one after the other, what was read
        self,
        orders: Sequence[Order],
        replayed: Iterator[bool],
        failed: dict[bytes, attempts.Count],
        book: rows.Book,
        keys: SigningDesk.Keys,
        connection: Connection | None,
    ) -> list[Issued | Exception]:
        results: list[Issued | Exception] = []
        for order in orders:
            try:
                if isinstance(order, Proved) and next(replayed):
                    raise InvalidProof("proof: its jti was used before")
                self._check_failures(order, failed)
                results.append(self._issue(order, book, keys, connection))
            except AuthsvcError as error:
                results.append(error)
        return results

    def _check_failures(self, order: Order, failed: dict[bytes, attempts.Count]) -> None:
        if isinstance(order, Login | Admission) and order.attempt in failed:
            found = failed[order.attempt]
            if found.number >= self._limits.failures:
                raise attempts.refusal("failures", found.ends_at, order.now)

    def _issue(
        self, order: Order, book: rows.Book, keys: SigningDesk.Keys, connection: Connection | None
    ) -> Issued:
        user, credential = self._holders.holder(order, book, keys)
        ttl = min(credential.ttl or self._limits.ttl, self._limits.ttl)
        # A JWT of the second of a supersession would count as superseded itself.
        issued_at = max(
            int(order.now),
            *(at + 1 for at in (user.superseded_at, credential.superseded_at) if at),
            0,
        )
        grants = book.grants_of(user)
        role = None
        # nats-server knows no template for whoever it lets in by callout.
        if keys.roles and credential.app is None and not isinstance(order, Admission):
            role = role_that_signs(user, keys.roles, grants)
        if role is not None:
            minted = keys.roles[role].issue_scoped(
                token=user.token,
                public_key=credential.public_key,
                credential=credential.id,
                issued_at=issued_at,
                expires_at=issued_at + ttl,
            )
        else:
            minted = keys.issuer.issue(
                token=user.token,
                public_key=credential.public_key,
                credential=credential.id,
                permissions=policy.permissions(
                    user.token,
                    app=subjects.token(credential.app) if credential.app else None,
                    grants=grants,
                ),
                subscriptions=user.max_subscriptions or self._limits.subscriptions,
                payload=user.max_payload or self._limits.payload,
                issued_at=issued_at,
                expires_at=issued_at + ttl,
            )
        if isinstance(order, Login) and connection is not None:
            # Last of all that can fail: what an order uses up stays so when the others commit.
            use_up(connection, order, user)
        renewal = isinstance(order, Renewal)
        book.issued(user, credential, minted, order, renewal=renewal)
        return Issued(
            id=credential.id,
            username=user.username,
            token=user.token,
            public_key=credential.public_key,
            account=keys.issuer.account,
            jwt=minted.jwt,
            name=credential.name,
            app=credential.app,
            issued_at=minted.issued_at,
            expires_at=minted.expires_at,
        )


def _is_plain(order: Order) -> TypeGuard[Login | Renewal]:
    """Whether it needs no more than the rows of its user and its nkey."""
    return isinstance(order, Renewal) or (
        isinstance(order, Login) and order.identity.ticket is None
    )
