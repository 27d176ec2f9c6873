"""The claims of the service's own NATS users, as narrow as users are. Pure."""

from __future__ import annotations

from authsvc.claims import Permission, Permissions, UserClaims
from authsvc.subjects import STORED, inbox_prefix

__all__ = [
    "ARCHIVIST_USER",
    "HERALD_USER",
    "POSTMASTER_USER",
    "PROVISIONER_USER",
    "SYSTEM_USER",
    "archivist_user",
    "herald_user",
    "postmaster_user",
    "provisioner_user",
    "system_user",
]

SYSTEM_USER = "authsvc-system"
PROVISIONER_USER = "authsvc-provisioner"
POSTMASTER_USER = "authsvc-postmaster"
ARCHIVIST_USER = "authsvc-archivist"
HERALD_USER = "AUTHSVC-herald"
"""Among people, whose tokens have no capitals but in %XX: nobody's inbox is this one's."""
_SERVICE_SUBSCRIPTIONS = 64


def system_user(
    *,
    subject: str,
    account: str,
    issued_at: int,
    people: str = "",
    expires: int = 0,
    name: str = SYSTEM_USER,
) -> UserClaims:
    """The service's user in the system account: it pushes account JWTs, looks them up, pings.

    It may ask by which operator JWT servers run, and which accounts they hold JWTs of, by which
    foreign ones are found. And it may ask and hear who is connected to the people's account, of no
    other one, so that an administrator sees that somebody who was revoked is gone, and so that
    nobody has more connections than a user may: what is above that, it has servers close. They
    close a connection by its number, whichever account it is in.

    The system account could do far more; who steals this key must not.

    Args:
        subject: Its nkey.
        account: Public key of the system account.
        issued_at: Seconds since the epoch.
        people: Public key of the account whose connections it may list and close; empty for none.
        expires: Seconds since the epoch, 0 for never.
        name: Its name; its inboxes begin with ``_INBOX.{name}``.
    """
    publish = (
        "$SYS.REQ.CLAIMS.UPDATE",
        "$SYS.REQ.CLAIMS.LIST",
        "$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP",
        "$SYS.REQ.SERVER.PING",
        "$SYS.REQ.SERVER.PING.VARZ",
        *((f"$SYS.REQ.ACCOUNT.{people}.CONNZ", "$SYS.REQ.SERVER.*.KICK") if people else ()),
    )
    # A server's own statistics, which also tell that it appeared, and its farewell.
    subscribe = (
        f"{inbox_prefix(name)}.>",
        "$SYS.SERVER.*.STATSZ",
        "$SYS.SERVER.*.SHUTDOWN",
        *(
            (f"$SYS.ACCOUNT.{people}.{event}" for event in ("CONNECT", "DISCONNECT"))
            if people
            else ()
        ),
    )
    return _own_user(
        subject=subject,
        name=name,
        account=account,
        allowed=_only(publish, subscribe),
        issued_at=issued_at,
        expires=expires,
    )


def provisioner_user(
    *, subject: str, account: str, issued_at: int, expires: int = 0, name: str = PROVISIONER_USER
) -> UserClaims:
    """The service's user in MAIL: it makes, changes, removes and inspects streams and consumers.

    It reads no messages by the stream API, purges nothing and takes no backups.

    Args:
        subject: Its nkey.
        account: Public key of MAIL.
        issued_at: Seconds since the epoch.
        expires: Seconds since the epoch, 0 for never.
        name: Its name; its inboxes begin with ``_INBOX.{name}``.
    """
    publish = (
        "$JS.API.INFO",
        *(f"$JS.API.STREAM.{action}.*" for action in ("CREATE", "UPDATE", "DELETE", "INFO")),
        "$JS.API.STREAM.NAMES",
        "$JS.API.STREAM.LIST",
        "$JS.API.CONSUMER.CREATE.*.*",
        "$JS.API.CONSUMER.CREATE.*.*.>",
        "$JS.API.CONSUMER.DELETE.*.*",
        "$JS.API.CONSUMER.INFO.*.*",
        "$JS.API.CONSUMER.NAMES.*",
    )
    subscribe = (f"{inbox_prefix(name)}.>",)
    return _own_user(
        subject=subject,
        name=name,
        account=account,
        allowed=_only(publish, subscribe),
        issued_at=issued_at,
        expires=expires,
    )


def postmaster_user(
    *,
    subject: str,
    account: str,
    stream: str,
    consumer: str,
    issued_at: int,
    expires: int = 0,
    name: str = POSTMASTER_USER,
) -> UserClaims:
    """The service's user in MAIL that takes dead letters out, and puts them back.

    It reads and removes messages and publishes requests; it changes no stream.

    Args:
        subject: Its nkey.
        account: Public key of MAIL.
        stream: Keeps what nats-server tells about dead letters.
        consumer: Hands that out.
        issued_at: Seconds since the epoch.
        expires: Seconds since the epoch, 0 for never.
        name: Its name; its inboxes begin with ``_INBOX.{name}``.
    """
    publish = (
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}",
        f"$JS.ACK.{stream}.{consumer}.>",
        f"$JS.ACK._.*.{stream}.{consumer}.>",
        "$JS.API.STREAM.MSG.GET.*",
        "$JS.API.STREAM.MSG.DELETE.*",
        "$JS.API.STREAM.PURGE.*",
        f"requests.*.*.*.{STORED}",
    )
    return _own_user(
        subject=subject,
        name=name,
        account=account,
        allowed=_only(publish, (f"{inbox_prefix(name)}.>",)),
        issued_at=issued_at,
        expires=expires,
    )


def archivist_user(
    *, subject: str, account: str, issued_at: int, expires: int = 0, name: str = ARCHIVIST_USER
) -> UserClaims:
    """The user in MAIL that a backup of mailboxes is made and posted again by.

    It reads messages and publishes stored ones; it changes and removes nothing.

    Args:
        subject: Its nkey.
        account: Public key of MAIL.
        issued_at: Seconds since the epoch.
        expires: Seconds since the epoch, 0 for never.
        name: Its name; its inboxes begin with ``_INBOX.{name}``.
    """
    publish = (
        "$JS.API.STREAM.NAMES",
        "$JS.API.STREAM.MSG.GET.*",
        f"requests.*.*.*.{STORED}",
        f"responses.*.*.*.*.{STORED}",
    )
    return _own_user(
        subject=subject,
        name=name,
        account=account,
        allowed=_only(publish, (f"{inbox_prefix(name)}.>",)),
        issued_at=issued_at,
        expires=expires,
    )


def herald_user(
    *, subject: str, account: str, issued_at: int, expires: int = 0, name: str = HERALD_USER
) -> UserClaims:
    """The service's user among people: it tells requesters that their request is a dead letter.

    It publishes stored responses, which reach who is online and who is away, and hears nothing.

    Args:
        subject: Its nkey.
        account: Public key of the people's account.
        issued_at: Seconds since the epoch.
        expires: Seconds since the epoch, 0 for never.
        name: Its name; its inboxes begin with ``_INBOX.{name}``.
    """
    publish = (f"responses.*.*.*.*.{STORED}",)
    return _own_user(
        subject=subject,
        name=name,
        account=account,
        allowed=_only(publish, (f"{inbox_prefix(name)}.>",)),
        issued_at=issued_at,
        expires=expires,
    )


def _own_user(
    *, subject: str, name: str, account: str, allowed: Permissions, issued_at: int, expires: int
) -> UserClaims:
    return UserClaims(
        subject=subject,
        name=name,
        issuer_account=account,
        permissions=allowed,
        subs=_SERVICE_SUBSCRIPTIONS,
        issued_at=issued_at,
        expires=expires,
    )


def _only(publish: tuple[str, ...], subscribe: tuple[str, ...]) -> Permissions:
    return Permissions(publish=Permission(allow=publish), subscribe=Permission(allow=subscribe))
