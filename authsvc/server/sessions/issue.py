"""The desk: many orders for credentials, one transaction.

Orders that arrive while a transaction runs share the next one (``GroupCommit``), so a
durable commit is paid once for all of them. Within the transaction everything is read in a few
queries, decided in memory order by order, and written in a few statements; one order's refusal
never touches another. An answer leaves only after its row and audit event are committed.

Rows are locked in the order of their keys (PostgreSQL), so a revocation is either seen here, or
comes after and covers what was issued here.
"""

from __future__ import annotations

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from authsvc import subjects
from authsvc.errors import (
    AuthsvcError,
    Conflict,
    Forbidden,
    InvalidProof,
    InvalidToken,
    KeyRevoked,
    KeyTaken,
    NotFound,
    UserDisabled,
    UserUnknown,
)
from authsvc.server import attempts, policy
from authsvc.server.database import Database
from authsvc.server.group_commit import GroupCommit
from authsvc.server.sessions import rows
from authsvc.server.sessions.orders import (
    Admission,
    Assignment,
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

__all__ = ["Desk"]

_DEAD = "this nkey was revoked; make a new one and log in with it"
_TAKEN = "this nkey belongs to another user; make a new one"


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
        self._group: GroupCommit[Order, Issued] = GroupCommit(database, self._batch)

    def pending(self) -> int:
        """How many orders were taken and have no answer yet."""
        return self._group.pending

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

    def _batch(self, connection: Connection, orders: list[Order]) -> list[Issued | Exception]:
        proofs = [order.proof for order in orders if isinstance(order, Proved)]
        marks = self._proofs.mark_all(proofs)
        account_id = self._signing.account_id
        book, new, failed, rows_of_keys = rows.open_book(
            connection, orders, marks.ordered, account_id
        )
        replayed = iter(marks.used(new))
        keys = self._signing.keys(connection, rows_of_keys)
        results: list[Issued | Exception] = []
        for order in orders:
            try:
                if isinstance(order, Proved) and next(replayed):
                    raise InvalidProof("proof: its jti was used before")
                self._check_failures(order, failed)
                results.append(self._issue(order, book, keys, connection))
            except AuthsvcError as error:
                results.append(error)
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

    def _check_failures(self, order: Order, failed: dict[bytes, attempts.Count]) -> None:
        if isinstance(order, Login | Admission) and order.attempt in failed:
            found = failed[order.attempt]
            if found.number >= self._limits.failures:
                raise attempts.refusal("failures", found.ends_at, order.now)

    def _issue(
        self, order: Order, book: rows.Book, keys: SigningDesk.Keys, connection: Connection
    ) -> Issued:
        now = int(order.now)
        if isinstance(order, Login | Admission):
            user, credential = self._login(order, book, now)
        elif isinstance(order, Renewal):
            user, credential = self._renewal(order, book, keys, now)
        elif isinstance(order, Assignment):
            user, credential = self._assignment(order, book, now)
        else:
            raise TypeError(order)
        ttl = min(credential.ttl or self._limits.ttl, self._limits.ttl)
        # A JWT of the second of a supersession would count as superseded itself.
        issued_at = max(
            now, *(at + 1 for at in (user.superseded_at, credential.superseded_at) if at), 0
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
        if isinstance(order, Login):
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

    def _login(
        self, order: Login | Admission, book: rows.Book, now: int
    ) -> tuple[rows.UserState, rows.CredentialState]:
        identity = order.identity
        user = book.user_named(identity.username)
        if user is None and self._limits.create_users:
            user = book.new_user(order)
        if user is None:
            raise UserUnknown(
                f"{identity.username} is not known here, and logging in does not create users; "
                "ask an administrator to add you"
            )
        if user.disabled_at is not None:
            raise UserDisabled(f"{user.username} is disabled; ask an administrator")
        if isinstance(order, Admission):
            if identity.ticket is not None:
                raise Forbidden(f"the login method {identity.method} is for logging in over HTTP")
            self._check_admission(order, user, book)
        credential = self._credential(order, user, book, now)
        book.logged_in(user, now)
        return user, credential

    def _check_admission(self, order: Admission, user: rows.UserState, book: rows.Book) -> None:
        if book.credential_of(order.public_key) is not None:
            raise KeyTaken("this connection was asked about before")
        # nats-server forgets the user JWT's own limits when it lets a connection in by callout.
        if user.max_subscriptions is not None or user.max_payload is not None:
            raise Forbidden(
                f"{user.username} has limits that nats-server applies only to whoever comes with "
                "a JWT; log in over HTTP"
            )
        admitted = book.admitted.get(user.id, 0)
        if admitted >= self._limits.admissions:
            raise Forbidden(
                f"{user.username} was let in {admitted} times within the life of a JWT; keep "
                "connections open, or log in over HTTP"
            )
        book.admitted[user.id] = admitted + 1

    def _assignment(
        self, order: Assignment, book: rows.Book, now: int
    ) -> tuple[rows.UserState, rows.CredentialState]:
        user = book.find_user(order.user_id)
        if user is None:
            raise NotFound("there is no such user")
        if user.disabled_at is not None:
            raise Conflict(f"{user.username} is disabled; enable the user first")
        return user, self._credential(order, user, book, now)

    def _credential(
        self, order: Login | Admission | Assignment, user: rows.UserState, book: rows.Book, now: int
    ) -> rows.CredentialState:
        """The key's credential, or a new one."""
        credential = book.credential_of(order.public_key)
        if credential is None:
            if order.public_key in book.dead:
                raise KeyRevoked(_DEAD)
            credential = book.new_credential(user, order, now)
        elif credential.user_id != user.id:
            raise KeyTaken(_TAKEN)
        elif credential.revoked_at is not None:
            raise KeyRevoked(_DEAD)
        elif credential.app != order.app:
            raise KeyTaken(
                "this nkey is for "
                + (f"the app {credential.app!r}" if credential.app else "all of the user's apps")
                + " and stays so; make a new one for anything else"
            )
        credential.login_at = now
        credential.method = order.method
        credential.ttl = order.ttl
        if order.name is not None:
            credential.name = order.name
        return credential

    def _renewal(
        self, order: Renewal, book: rows.Book, keys: SigningDesk.Keys, now: int
    ) -> tuple[rows.UserState, rows.CredentialState]:
        credential = book.credential_of(order.public_key)
        if order.public_key in book.dead:
            raise KeyRevoked(_DEAD)
        if credential is None or credential.id != order.credential:
            raise InvalidToken("renewal: the JWT's credential is not the key's")
        if order.issuer not in keys.trusted and order.issuer not in keys.former:
            raise InvalidToken("renewal: signed by a key that is no longer trusted")
        user = book.user_by_id(credential.user_id)
        if user.disabled_at is not None:
            raise UserDisabled(f"{user.username} is disabled; ask an administrator")
        if credential.revoked_at is not None:
            raise KeyRevoked(_DEAD)
        if now > order.expires_at + self._limits.grace:
            raise InvalidToken("renewal: the JWT expired longer ago than the grace")
        if now - credential.login_at > self._limits.session:
            raise InvalidToken("renewal: the longest session is over, a login is needed")
        return user, credential
