"""Using up what stands behind a proof, in the transaction that issues the credential."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select

from authsvc.errors import Forbidden, InvalidToken
from authsvc.server.models import DeviceRequest, Enrolment, EnrolmentKey
from authsvc.server.sessions.orders import Login
from authsvc.server.sessions.states import UserState

__all__ = ["use_up"]

_keys = EnrolmentKey.__table__  # type: ignore[attr-defined]
_enrolments = Enrolment.__table__  # type: ignore[attr-defined]
_devices = DeviceRequest.__table__  # type: ignore[attr-defined]

# Locked: whoever presents the same key elsewhere waits, and then sees that it was used.
_select_key = select(_keys).where(_keys.c.id == bindparam("id")).with_for_update()
_select_enrolments = select(_enrolments.c.public_key, _enrolments.c.user_id).where(
    _enrolments.c.key_id == bindparam("id"),
    (_enrolments.c.public_key == bindparam("public_key"))
    | (_enrolments.c.user_id == bindparam("user_id")),
)
_use_key = _keys.update().where(_keys.c.id == bindparam("of_id"))
_select_device = select(_devices).where(_devices.c.id == bindparam("id")).with_for_update()
_take_device = _devices.update().where(_devices.c.id == bindparam("of_id")).values(state="taken")


def use_up(connection: Connection, order: Login, user: UserState) -> None:
    """Use up an order's ticket, if it has one; the order must not fail afterwards.

    Args:
        connection: Of the transaction that issues the credential.
        order: Whose identity has the ticket.
        user: Whom the credential is for.

    Raises:
        InvalidToken: It is used up, over, revoked, or another nkey's.
        Forbidden: The enrolment key is not for this user.
    """
    ticket = order.identity.ticket
    if ticket is None:
        return
    if ticket.kind == "enrolment":
        _enrol(connection, ticket.id, order, user)
    else:
        _take(connection, ticket.id, order)


def _enrol(connection: Connection, key_id: str, order: Login, user: UserState) -> None:
    now = int(order.now)
    key = connection.execute(_select_key, {"id": key_id}).one_or_none()
    if key is None or key.revoked_at is not None:
        raise InvalidToken("enrolment key: revoked")
    values = {"id": key_id, "public_key": order.public_key, "user_id": user.id}
    enrolled = connection.execute(_select_enrolments, values).all()
    if any(row.public_key == order.public_key for row in enrolled):
        connection.execute(_use_key.values(last_used_at=now), {"of_id": key_id})
        return
    if key.expires_at is not None and now >= key.expires_at:
        raise InvalidToken("enrolment key: expired")
    if key.max_uses is not None and key.uses >= key.max_uses:
        raise InvalidToken("enrolment key: used up")
    if not (user.created or key.existing or enrolled):
        raise Forbidden(
            f"{user.username} was there before; an enrolment key that lets machines in as users "
            "who exist has to be made so (existing)"
        )
    connection.execute(_use_key.values(uses=_keys.c.uses + 1, last_used_at=now), {"of_id": key_id})
    connection.execute(
        _enrolments.insert(),
        {
            "key_id": key_id,
            "public_key": order.public_key,
            "user_id": user.id,
            "enrolled_at": now,
        },
    )


def _take(connection: Connection, request_id: str, order: Login) -> None:
    found = connection.execute(_select_device, {"id": request_id}).one_or_none()
    if found is None or found.state != "approved" or int(order.now) >= found.expires_at:
        raise InvalidToken("device token: used or expired")
    if found.public_key != order.public_key:
        raise InvalidToken("device token: another nkey's")
    connection.execute(_take_device, {"of_id": request_id})
