"""The rows that a transaction of the desk reads and writes, many orders at a time.

``open_book`` reads users, credentials and grants of all orders in a few queries; the desk decides
in memory; ``Book.write`` writes in a few statements.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from sqlalchemy import Connection, bindparam, or_, select

from authsvc import subjects
from authsvc.server import audit
from authsvc.server.issuer import Minted
from authsvc.server.models import Credential, DeadKey, Grant, User, new_id
from authsvc.server.sessions.admissions import count_admissions
from authsvc.server.sessions.orders import Admission, Assignment, Login, Order
from authsvc.server.sessions.proofs import insert_into

__all__ = ["Book", "CredentialState", "UserState", "open_book"]

_users = User.__table__  # type: ignore[attr-defined]
_credentials = Credential.__table__  # type: ignore[attr-defined]
_grants = Grant.__table__  # type: ignore[attr-defined]
_dead_keys = DeadKey.__table__  # type: ignore[attr-defined]


_LOGIN_SECONDS = 60


@dataclass(slots=True)
class UserState:
    """What of a user's row matters when a credential is issued."""

    id: str
    username: str
    token: str
    disabled_at: int | None
    superseded_at: int | None
    max_subscriptions: int | None
    max_payload: int | None
    roles: list[str]
    last_login_at: int | None
    logged_in: bool = False


@dataclass(slots=True)
class CredentialState:
    """A credential's row, as it is and as it will be written."""

    id: str
    user_id: str
    public_key: str
    name: str
    app: str | None
    method: str
    ttl: int | None
    login_at: int
    issued_at: int
    expires_at: int
    alive_until: int
    jti: str
    revoked_at: int | None
    superseded_at: int | None
    last_used_at: int | None
    created: bool = False


_USER_COLUMNS = [field.name for field in fields(UserState) if field.name != "logged_in"]
_CREDENTIAL_COLUMNS = [field.name for field in fields(CredentialState) if field.name != "created"]
_FIXED = {"id", "user_id", "public_key", "app", "revoked_at", "superseded_at"}
_ISSUED_COLUMNS = [name for name in _CREDENTIAL_COLUMNS if name not in _FIXED]
"""What issuing a JWT changes; revoking and superseding are not issuing's to write."""


@dataclass(slots=True)
class Book:
    """All rows of one transaction."""

    users: dict[str, UserState]
    credentials: dict[str, CredentialState]
    grants: Sequence[Any]
    dead: frozenset[str] = frozenset()
    """Nkeys of users who were deleted."""
    admitted: dict[str, int] = field(default_factory=dict)
    """Live admissions by user id, where somebody asks for one."""
    events: list[dict[str, Any]] = field(default_factory=list)
    touched: dict[str, CredentialState] = field(default_factory=dict)
    _by_id: dict[str, UserState] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._by_id = {user.id: user for user in self.users.values()}

    def add_users(self, users: dict[str, UserState]) -> None:
        """Take in users that were created."""
        self.users.update(users)
        self._by_id.update({user.id: user for user in users.values()})

    def user_named(self, username: str) -> UserState | None:
        """The user, if there is one; created users are there already."""
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

    def grants_of(self, user: UserState) -> Iterable[Any]:
        """What administrators granted to the user or to one of the user's roles."""
        if not self.grants:
            return ()
        return [
            grant for grant in self.grants if grant.user_id == user.id or grant.role in user.roles
        ]

    def new_credential(
        self, user: UserState, order: Login | Admission | Assignment, now: int
    ) -> CredentialState:
        """A credential for a key that has none yet."""
        credential = CredentialState(
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
            revoked_at=None,
            superseded_at=None,
            last_used_at=None,
            created=True,
        )
        self.credentials[order.public_key] = credential
        return credential

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
        actor = audit.Actor("user", user.id)
        if isinstance(order, Assignment):
            actor = order.actor
        else:
            credential.last_used_at = int(order.now)
        self.touched[credential.id] = credential
        self.events.append(
            audit.event(
                audit.Context(actor, order.request_id, order.address),
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

    def write(self, connection: Connection) -> None:
        """Write everything that was noted; nothing is committed here."""
        states = self.touched.values()
        new = [_row(state, _CREDENTIAL_COLUMNS) for state in states if state.created]
        if new:
            for row in new:
                row["created_at"] = row["login_at"]
            connection.execute(_insert_credential, new)
        known = [
            {"of_id": state.id, **_row(state, _ISSUED_COLUMNS)}
            for state in states
            if not state.created
        ]
        if known:
            connection.execute(_update_credential, known)
        seen = [
            {"of_id": user.id, "last_login_at": user.last_login_at}
            for user in self.users.values()
            if user.logged_in
        ]
        if seen:
            connection.execute(_update_user, seen)
        if self.events:
            connection.execute(audit.INSERT, self.events)


def _row(state: CredentialState, columns: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(state, name) for name in columns}


# Made once: building a statement costs more than running it.
_insert_credential = _credentials.insert()
_update_credential = (
    _credentials.update()
    .where(_credentials.c.id == bindparam("of_id"))
    .values({name: bindparam(name) for name in _ISSUED_COLUMNS})
)
_update_user = (
    _users.update()
    .where(_users.c.id == bindparam("of_id"))
    .values(last_login_at=bindparam("last_login_at"))
)
_select_credentials = (
    select(*(_credentials.c[name] for name in _CREDENTIAL_COLUMNS))
    .where(_credentials.c.public_key.in_(bindparam("public_keys", expanding=True)))
    .order_by(_credentials.c.public_key)
    .with_for_update()
)
_select_dead = select(_dead_keys.c.public_key).where(
    _dead_keys.c.public_key.in_(bindparam("public_keys", expanding=True))
)
_select_users = (
    select(*(_users.c[name] for name in _USER_COLUMNS))
    .where(
        or_(
            _users.c.username.in_(bindparam("names", expanding=True)),
            _users.c.id.in_(bindparam("ids", expanding=True)),
        )
    )
    .order_by(_users.c.id)
    .with_for_update()
)
_select_grants = select(
    _grants.c.user_id, _grants.c.role, _grants.c.publish, _grants.c.subscribe
).where(or_(_grants.c.user_id.in_(bindparam("ids", expanding=True)), _grants.c.role.is_not(None)))


def open_book(connection: Connection, orders: Sequence[Order], *, create_users: bool) -> Book:
    """Read what the orders need; a user whose first login this is, is created."""
    keys = list({order.public_key for order in orders})
    found = connection.execute(_select_credentials, {"public_keys": keys})
    credentials = {row.public_key: CredentialState(*row) for row in found}
    names = {order.identity.username for order in orders if isinstance(order, Login | Admission)}
    owners = {credential.user_id for credential in credentials.values()}
    owners |= {order.user_id for order in orders if isinstance(order, Assignment)}
    unknown = [key for key in keys if key not in credentials]
    # After the credentials: a key whose user is being deleted is seen in one of the two.
    dead = connection.scalars(_select_dead, {"public_keys": unknown}) if unknown else ()
    book = Book(_read_users(connection, names, owners), credentials, (), frozenset(dead))
    if create_users and not names <= book.users.keys():
        _create_users(connection, book, orders)
    # Most services have few grants or none: one query brings all that could matter.
    ids = [user.id for user in book.users.values()]
    book.grants = connection.execute(_select_grants, {"ids": ids}).all()
    asked = [int(order.now) for order in orders if isinstance(order, Admission)]
    if asked:
        book.admitted = count_admissions(connection, ids, min(asked))
    return book


def _read_users(
    connection: Connection, names: Iterable[str], ids: Iterable[str]
) -> dict[str, UserState]:
    found = connection.execute(_select_users, {"names": list(names), "ids": list(ids)})
    return {row.username: UserState(*row) for row in found}


def _create_users(connection: Connection, book: Book, orders: Sequence[Order]) -> None:
    """Create the users who log in for the first time; another replica may do so as well."""
    first: dict[str, Login | Admission] = {}
    # A key that is dead or another's is refused, and creates nobody.
    refused = book.dead | book.credentials.keys()
    for order in orders:
        if (
            isinstance(order, Login | Admission)
            and order.identity.username not in book.users
            and order.public_key not in refused
        ):
            first.setdefault(order.identity.username, order)
    new: list[dict[str, Any]] = [
        {
            "id": new_id("usr"),
            "username": username,
            "token": subjects.token(username),
            "kind": "email" if order.identity.email else "service",
            "roles": [],
            "created_at": int(order.now),
        }
        for username, order in sorted(first.items())
    ]
    if not new:
        return
    statement = insert_into(connection, _users).on_conflict_do_nothing()
    created = set(connection.scalars(statement.returning(_users.c.username), new))
    lost = first.keys() - created
    if lost:
        book.add_users(_read_users(connection, lost, ()))
    for row in new:
        if row["username"] in created:
            columns: list[Any] = [row.get(name) for name in _USER_COLUMNS]
            fresh = UserState(*columns)
            book.add_users({fresh.username: fresh})
            order = first[row["username"]]
            context = audit.Context(audit.Actor("user", row["id"]), order.request_id, order.address)
            details = {"username": row["username"], "method": order.identity.method}
            at = int(order.now * 1000)
            book.events.append(audit.event(context, "user.create", "user", row["id"], details, at))
