"""The claims of the operator and its three accounts. Pure.

People live in one account without JetStream, their stored messages in another, called MAIL
here, which people never log in to. Five services cross over (``CROSSINGS``). In one account a
user could name a JetStream API subject as reply, and nats-server itself would publish there; the
answers to an imported service never travel on through another import, so here it can't.

The caller signs: the operator claims by the operator's identity key, accounts by its signing
key, users by a signing key of their account. Identity keys of accounts sign nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from authsvc.claims import (
    AccountClaims,
    AccountLimits,
    Export,
    Import,
    JetStreamLimits,
    OperatorClaims,
    Permissions,
    UserScope,
)
from authsvc.server.provision.service_users import (
    PROVISIONER_USER,
    SYSTEM_USER,
    provisioner_user,
    system_user,
)
from authsvc.subjects import STORED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "CROSSINGS",
    "PROVISIONER_USER",
    "SYSTEM_USER",
    "Crossing",
    "mail_account",
    "operator_claims",
    "people_account",
    "provisioner_user",
    "system_account",
    "system_user",
]

OLDEST_SERVER = "2.14.3"
"""An older nats-server refuses to start with our operator JWT; see ``binary.FLOOR``."""

_NO_LIMIT = -1


class Crossing(NamedTuple):
    """A service of MAIL that people may use.

    Args:
        name: For people.
        mail: The subject in MAIL.
        people: The subject in the people's account, ``$1`` standing for the first wildcard.
        answers: Whether one request has one answer or a stream of them.
    """

    name: str
    mail: str
    people: str
    answers: Literal["Singleton", "Stream"]


CROSSINGS = (
    # Under $JS.API itself the people's account would answer as well, with an error.
    Crossing(
        "pull",
        "$JS.API.CONSUMER.MSG.NEXT.*.*",
        "$JS.mail.API.CONSUMER.MSG.NEXT.$1.$2",
        "Stream",
    ),
    Crossing(
        "read",
        "$JS.API.STREAM.MSG.GET.*",
        "$JS.mail.API.STREAM.MSG.GET.$1",
        "Singleton",
    ),
    Crossing("ack", "$JS.ACK.>", "", "Stream"),
    Crossing("submit", f"requests.*.*.*.{STORED}", "", "Singleton"),
    Crossing("answer", f"responses.*.*.*.*.{STORED}", "", "Singleton"),
)
"""The contract's five exports and imports. Live subjects do not cross: it would cost a fifth."""


def operator_claims(
    *,
    subject: str,
    name: str,
    signing_keys: Iterable[str],
    system_account: str,
    issued_at: int,
    account_server_url: str = "",
) -> OperatorClaims:
    """The root of trust that nats-server is configured with.

    Args:
        subject: Public identity key of the operator; it signs these claims and nothing else.
        name: For people.
        signing_keys: Public operator keys that sign accounts.
        system_account: Public key of the system account.
        issued_at: Seconds since the epoch.
        account_server_url: Where tools find account JWTs, if anywhere.
    """
    return OperatorClaims(
        subject=subject,
        name=name,
        signing_keys=list(signing_keys),
        system_account=system_account,
        account_server_url=account_server_url,
        assert_server_version=OLDEST_SERVER,
        strict_signing_key_usage=True,
        issued_at=issued_at,
    )


def people_account(
    *,
    subject: str,
    name: str,
    mail_account: str,
    signing_keys: Iterable[str],
    revocations: Mapping[str, int],
    issued_at: int,
    scopes: Iterable[UserScope] = (),
    max_connections: int = _NO_LIMIT,
) -> AccountClaims:
    """The account that users log in to.

    Args:
        subject: Its public identity key.
        name: For people.
        mail_account: Public key of the account that keeps stored messages.
        signing_keys: Public account keys that may sign users.
        revocations: Users that ended; see ``AccountClaims``.
        issued_at: Seconds since the epoch, higher than in the last JWT of this account.
        scopes: Templates of the roles that have a signing key of their own.
        max_connections: Connections of all users together, -1 for any number.
    """
    imports = [
        Import(
            name=crossing.name,
            subject=crossing.mail,
            account=mail_account,
            local_subject=crossing.people,
            type="service",
        )
        for crossing in CROSSINGS
    ]
    return _account(
        subject=subject,
        name=name,
        signing_keys=signing_keys,
        revocations=revocations,
        issued_at=issued_at,
        limits=AccountLimits(
            imports=len(imports),
            exports=0,
            wildcard_exports=False,
            disallow_bearer=True,
            connections=max_connections,
            leaf_connections=0,
        ),
        imports=imports,
        scopes=scopes,
    )


def mail_account(
    *,
    subject: str,
    name: str,
    signing_keys: Iterable[str],
    revocations: Mapping[str, int],
    issued_at: int,
    max_storage: int = _NO_LIMIT,
) -> AccountClaims:
    """The account that keeps streams; only users of the service itself log in to it.

    Args:
        subject: Its public identity key.
        name: For people.
        signing_keys: Public account keys that may sign users.
        revocations: Users that ended; see ``AccountClaims``.
        issued_at: Seconds since the epoch, higher than in the last JWT of this account.
        max_storage: Bytes on disk of all streams together, -1 for what the server allows.
    """
    exports = [
        Export(
            name=crossing.name,
            subject=crossing.mail,
            type="service",
            response_type=crossing.answers,
        )
        for crossing in CROSSINGS
    ]
    return _account(
        subject=subject,
        name=name,
        signing_keys=signing_keys,
        revocations=revocations,
        issued_at=issued_at,
        limits=AccountLimits(
            imports=0,
            exports=len(exports),
            disallow_bearer=True,
            leaf_connections=0,
            jetstream=JetStreamLimits(
                disk_storage=max_storage, streams=_NO_LIMIT, consumers=_NO_LIMIT
            ),
        ),
        exports=exports,
    )


def system_account(
    *,
    subject: str,
    name: str,
    signing_keys: Iterable[str],
    revocations: Mapping[str, int],
    issued_at: int,
) -> AccountClaims:
    """The account in which nats-server itself speaks.

    Args:
        subject: Its public identity key.
        name: For people.
        signing_keys: Public account keys that may sign users.
        revocations: Users that ended; see ``AccountClaims``.
        issued_at: Seconds since the epoch, higher than in the last JWT of this account.
    """
    return _account(
        subject=subject,
        name=name,
        signing_keys=signing_keys,
        revocations=revocations,
        issued_at=issued_at,
        limits=AccountLimits(
            imports=0, exports=0, wildcard_exports=False, disallow_bearer=True, leaf_connections=0
        ),
    )


def _account(
    *,
    subject: str,
    name: str,
    signing_keys: Iterable[str],
    revocations: Mapping[str, int],
    issued_at: int,
    limits: AccountLimits,
    imports: Iterable[Import] = (),
    exports: Iterable[Export] = (),
    scopes: Iterable[UserScope] = (),
) -> AccountClaims:
    return AccountClaims(
        subject=subject,
        name=name,
        imports=list(imports),
        exports=list(exports),
        limits=limits,
        signing_keys={**dict.fromkeys(signing_keys), **{scope.key: scope for scope in scopes}},
        revocations=dict(revocations),
        # A user JWT without permissions of its own would otherwise be free in its account.
        default_permissions=Permissions.nothing(),
        issued_at=issued_at,
    )
