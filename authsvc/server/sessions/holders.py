"""Whose JWT is made: the user and the credential of an order, or why there is none."""

from __future__ import annotations

from authsvc.errors import (
    Conflict,
    Forbidden,
    InvalidToken,
    KeyRevoked,
    KeyTaken,
    NotFound,
    UserDisabled,
    UserUnknown,
)
from authsvc.server.sessions import rows
from authsvc.server.sessions.orders import Admission, Assignment, Limits, Login, Order, Renewal
from authsvc.server.sessions.signing import SigningDesk

__all__ = ["Holders"]

_DEAD = "this nkey was revoked; make a new one and log in with it"
_TAKEN = "this nkey belongs to another user; make a new one"


class Holders:
    """Finds who holds what an order asks for, in the rows that were read for it.

    Args:
        limits: What the settings say about every credential.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def holder(
        self, order: Order, book: rows.Book, keys: SigningDesk.Keys
    ) -> tuple[rows.UserState, rows.CredentialState]:
        """The user and the credential, either of which may be new.

        Args:
            order: What is wanted.
            book: The rows.
            keys: Whose JWTs count.

        Raises:
            AuthsvcError: There is none for this order; ``Desk.order`` says which.
        """
        now = int(order.now)
        if isinstance(order, Login | Admission):
            return self._login(order, book, now)
        if isinstance(order, Renewal):
            return self._renewal(order, book, keys, now)
        if isinstance(order, Assignment):
            return self._assignment(order, book, now)
        raise TypeError(order)

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
