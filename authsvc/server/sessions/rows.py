"""The rows that a transaction of the desk reads and writes, many orders at a time.

``open_book`` reads users, credentials and grants of all orders in a few queries; the desk decides
in memory; ``Book.write`` writes in a few statements.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection

from authsvc import subjects
from authsvc.server import attempts, audit
from authsvc.server.issuer import Minted
from authsvc.server.models import Credential, User, new_id
from authsvc.server.sessions.admissions import count_admissions
from authsvc.server.sessions.orders import Admission, Assignment, Login, Order, Renewal
from authsvc.server.sessions.proofs import Marks
from authsvc.server.sessions.reads import GrantRow, read_rules, take
from authsvc.server.sessions.signing import KeyRow
from authsvc.server.sessions.states import (
    CREDENTIAL_COLUMNS,
    ISSUED_COLUMNS,
    USER_COLUMNS,
    CredentialState,
    UserState,
)
from authsvc.server.sessions.wanted import Wanted
from authsvc.server.statements import Part, Prepared, run_all

__all__ = ["Book", "CredentialState", "Opened", "UserState", "open_book", "wanted_by"]

_users = User.__table__  # type: ignore[attr-defined]
_credentials = Credential.__table__  # type: ignore[attr-defined]


_LOGIN_SECONDS = 60


@dataclass(slots=True)
class Book:
    """All rows of one transaction."""

    users: dict[str, UserState]
    credentials: dict[str, CredentialState]
    grants: Sequence[GrantRow]
    dead: frozenset[str] = frozenset()
    """Nkeys of users who were deleted."""
    admitted: dict[str, int] = field(default_factory=dict)
    """Live admissions by user id, where somebody asks for one."""
    events: list[dict[str, Any]] = field(default_factory=list)
    touched: dict[str, CredentialState] = field(default_factory=dict)
    new_users: list[dict[str, Any]] = field(default_factory=list)
    _by_id: dict[str, UserState] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._by_id = {user.id: user for user in self.users.values()}

    def user_named(self, username: str) -> UserState | None:
        """The user, if there is one, here or in an earlier order."""
        return self.users.get(username)

    def user_by_id(self, user_id: str) -> UserState:
        """The user of a credential in this book."""
        return self._by_id[user_id]

    def find_user(self, user_id: str) -> UserState | None:
        """The user that an order names by id, if there still is one."""
        return self._by_id.get(user_id)

    def credential_of(self, public_key: str) -> CredentialState | None:
        """The credential that the nkey has."""
        return self.credentials.get(public_key)

    def grants_of(self, user: UserState) -> Iterable[GrantRow]:
        """What administrators granted to the user or to one of the user's roles."""
        if not self.grants:
            return ()
        return [
            grant for grant in self.grants if grant.user_id == user.id or grant.role in user.roles
        ]

    @staticmethod
    def new_user(order: Login | Admission) -> UserState:
        """A user whose first login this is; in the book once a JWT is issued."""
        return UserState(
            id=new_id("usr"),
            username=order.identity.username,
            token=subjects.token(order.identity.username),
            disabled_at=None,
            superseded_at=None,
            max_subscriptions=None,
            max_payload=None,
            roles=[],
            last_login_at=None,
            created=True,
        )

    @staticmethod
    def new_credential(
        user: UserState, order: Login | Admission | Assignment, now: int
    ) -> CredentialState:
        """A credential for a key that has none yet; in the book once its JWT is issued."""
        return CredentialState(
            id=new_id("crd"),
            user_id=user.id,
            public_key=order.public_key,
            name=order.name or "",
            app=order.app,
            method=order.method,
            ttl=order.ttl,
            login_at=now,
            issued_at=0,
            expires_at=0,
            alive_until=0,
            jti="",
            signer="",
            revoked_at=None,
            superseded_at=None,
            last_used_at=None,
            created=True,
        )

    def logged_in(self, user: UserState, now: int) -> None:
        """Note a login; the row is written at most once a minute."""
        if now - (user.last_login_at or 0) >= _LOGIN_SECONDS:
            user.last_login_at = now
            user.logged_in = True

    def issued(
        self,
        user: UserState,
        credential: CredentialState,
        minted: Minted,
        order: Order,
        *,
        renewal: bool,
    ) -> None:
        """Note a JWT that was signed, and its audit event."""
        credential.issued_at = minted.issued_at
        credential.expires_at = minted.expires_at
        credential.alive_until = max(credential.alive_until, minted.expires_at)
        credential.jti = minted.jti
        credential.signer = minted.signer
        actor = audit.Actor("user", user.id)
        if isinstance(order, Assignment):
            actor = order.actor
        else:
            credential.last_used_at = int(order.now)
        self.touched[credential.id] = credential
        self.credentials[credential.public_key] = credential
        context = audit.Context(actor, order.request_id, order.address)
        if user.created and user.username not in self.users:
            self._created(user, order, context)
        self.events.append(
            audit.event(
                context,
                "credential.renew" if renewal else "credential.issue",
                "credential",
                credential.id,
                {
                    "username": user.username,
                    "public_key": credential.public_key,
                    "method": credential.method,
                    "jti": minted.jti,
                    "issued_at": minted.issued_at,
                    "expires_at": minted.expires_at,
                    **({"app": credential.app} if credential.app else {}),
                    **order.details,
                },
                int(order.now * 1000),
            )
        )

    def _created(self, user: UserState, order: Order, context: audit.Context) -> None:
        self.users[user.username] = user
        self._by_id[user.id] = user
        identity = order.identity if isinstance(order, Login | Admission) else None
        email = identity is not None and identity.email
        method = identity.method if identity is not None else ""
        row = {name: getattr(user, name) for name in USER_COLUMNS}
        row |= {"kind": "email" if email else "service", "created_at": int(order.now), "version": 1}
        self.new_users.append(row)
        details = {"username": user.username, "method": method}
        at = int(order.now * 1000)
        self.events.append(audit.event(context, "user.create", "user", user.id, details, at))

    def write(self, connection: Connection) -> None:
        """Write everything that was noted; nothing is committed here.

        Raises:
            IntegrityError: Another replica made the same user or took the same key meanwhile.
        """
        run_all(connection, *self.parts())

    def parts(self) -> list[Part]:
        """What is to be written; the same parts in every book, some without rows."""
        states = self.touched.values()
        new = [_row(state, CREDENTIAL_COLUMNS) for state in states if state.created]
        for row in new:
            row["created_at"] = row["login_at"]
        seen = [
            {"id": user.id, "last_login_at": user.last_login_at}
            for user in self.users.values()
            if user.logged_in and not user.created
        ]
        known = [_row(state, _CHANGED) for state in states if not state.created]
        # Of what others could make as well, in one order of rows: all transactions wait for one
        # another, and none for ever.
        return [
            (_INSERT_USER, sorted(self.new_users, key=itemgetter("username"))),
            (_INSERT_CREDENTIAL, sorted(new, key=itemgetter("public_key"))),
            (_UPDATE_CREDENTIAL, known),
            (_UPDATE_USER, seen),
            (audit.INSERT, self.events),
        ]


def _row(state: CredentialState, columns: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(state, name) for name in columns}


_CHANGED = [*ISSUED_COLUMNS, "id"]
_INSERT_USER = Prepared(_users, [*USER_COLUMNS, "kind", "created_at", "version"])
_INSERT_CREDENTIAL = Prepared(_credentials, [*CREDENTIAL_COLUMNS, "created_at"])
_UPDATE_CREDENTIAL = Prepared(_credentials, ISSUED_COLUMNS, by="id")
_UPDATE_USER = Prepared(_users, ["last_login_at"], by="id")


class Opened(NamedTuple):
    """A book, and what else is known of its orders.

    Args:
        book: What they need.
        new: Marks of proofs that were not used before.
        failed: Failures before, by what they were counted under.
        keys: The account's signing keys.
    """

    book: Book
    new: set[bytes]
    failed: dict[bytes, attempts.Count]
    keys: Sequence[KeyRow]


def wanted_by(orders: Sequence[Order], marks: Marks) -> Wanted:
    """What orders need.

    Args:
        orders: What is asked for.
        marks: Of their proofs.
    """
    keys = list({order.public_key for order in orders})
    logins = [order for order in orders if isinstance(order, Login | Admission)]
    tried = [order for order in logins if order.attempt is not None]
    return Wanted(
        marks=marks.ordered,
        doubtful=marks.doubtful,
        attempts=list({order.attempt for order in tried if order.attempt}),
        now=int(max((order.now for order in tried), default=0)),
        public_keys=keys,
        # Who logs in is found by name; whether the key is theirs, its row says.
        names=list({order.identity.username for order in logins}),
        user_ids=list({order.user_id for order in orders if isinstance(order, Assignment)}),
        renewed=list({order.public_key for order in orders if isinstance(order, Renewal)}),
    )


def open_book(
    connection: Connection, orders: Sequence[Order], marks: Marks, account_id: str
) -> Opened:
    """Read and lock what the orders need.

    Args:
        connection: In a transaction.
        orders: What is wanted.
        marks: Of their proofs, which are used up by this.
        account_id: Whose keys sign.
    """
    wanted = wanted_by(orders, marks)
    new, failed, credentials, users = take(connection, wanted)
    ids = [user.id for user in users]
    unknown = [key for key in wanted.public_keys if key not in credentials]
    rules = read_rules(connection, account_id, ids, unknown)
    named = {user.username: user for user in users}
    book = Book(named, credentials, rules.grants, rules.dead)
    asked = [int(order.now) for order in orders if isinstance(order, Admission)]
    if asked:
        book.admitted = count_admissions(connection, ids, min(asked))
    return Opened(book, new, failed, rules.keys)
