"""The claims behind auth callout: the account called DOOR, and its two users. Pure.

Whoever comes without a user JWT of their own is shown in at the door: nats-server takes the
sentinel's JWT for theirs, sees that DOOR leaves decisions to a service, and asks it. In an account
with such a service every user but the service is asked about, so DOOR is an account of its own,
and people's own JWTs know nothing of it.

Sources: https://github.com/nats-io/jwt (account_claims.go, ExternalAuthorization); nats-server,
server/auth_callout.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from authsvc.claims import (
    AccountClaims,
    AccountLimits,
    Authorization,
    Permission,
    Permissions,
    UserClaims,
    UserScope,
)

__all__ = [
    "ASK_SUBJECT",
    "CALLOUT_USER",
    "QUEUE",
    "SENTINEL_USER",
    "callout_user",
    "door_account",
    "sentinel_user",
]

ASK_SUBJECT = "$SYS.REQ.USER.AUTH"
"""Where nats-server asks, in DOOR."""
QUEUE = "authsvc"
"""The replicas of the service: each question reaches one of them."""
CALLOUT_USER = "authsvc-callout"
SENTINEL_USER = "sentinel"
_ANSWERS = "$SYS._INBOX.*.*"


def door_account(
    *,
    subject: str,
    name: str,
    signing_keys: Iterable[str],
    revocations: Mapping[str, int],
    issued_at: int,
    callout_user: str,
    sentinel_signer: str,
    people_account: str,
    xkey: str,
) -> AccountClaims:
    """The account that nats-server asks about.

    Args:
        subject: Its public identity key.
        name: For people.
        signing_keys: Public account keys that may sign users.
        revocations: Users that ended; see ``AccountClaims``.
        issued_at: Seconds since the epoch, higher than in the last JWT of this account.
        callout_user: Public key of the service's user, the only one who really logs in here.
        sentinel_signer: Public account key that signed the sentinel. Whatever else it might sign
            could do no more: its users have what its template says, which is nothing.
        people_account: Public key of the one account that clients may be placed in.
        xkey: Public curve key that questions are encrypted for.
    """
    nothing = UserScope(
        key=sentinel_signer,
        role=SENTINEL_USER,
        permissions=Permissions.nothing(),
        # nats-server closes a connection that may have no subscription before it asks.
        subs=1,
        payload=1,
        bearer_token=True,
    )
    return AccountClaims(
        subject=subject,
        name=name,
        # Bearer users are allowed: the sentinel is one.
        limits=AccountLimits(imports=0, exports=0, wildcard_exports=False, leaf_connections=0),
        signing_keys={**dict.fromkeys(signing_keys), sentinel_signer: nothing},
        revocations=dict(revocations),
        default_permissions=Permissions.nothing(),
        authorization=Authorization(
            auth_users=(callout_user,), allowed_accounts=(people_account,), xkey=xkey
        ),
        issued_at=issued_at,
    )


def callout_user(*, subject: str, account: str, issued_at: int, expires: int) -> UserClaims:
    """The service's user in DOOR: it hears the questions, as one of its queue group, and answers.

    nats-server itself refuses it to ask.

    Args:
        subject: Its nkey.
        account: Public key of DOOR.
        issued_at: Seconds since the epoch.
        expires: Seconds since the epoch.
    """
    return UserClaims(
        subject=subject,
        name=CALLOUT_USER,
        issuer_account=account,
        permissions=Permissions(
            publish=Permission(allow=(_ANSWERS,)),
            subscribe=Permission(allow=(f"{ASK_SUBJECT} {QUEUE}",)),
        ),
        subs=2,
        issued_at=issued_at,
        expires=expires,
    )


def sentinel_user(*, subject: str, account: str, issued_at: int) -> UserClaims:
    """The user whose JWT everybody may have: it says no more than that DOOR is to be asked.

    Were nats-server to let it in for itself, it could neither publish nor subscribe: its signer's
    template says so (see ``door_account``).

    Args:
        subject: Its nkey; its seed is no secret.
        account: Public key of DOOR.
        issued_at: Seconds since the epoch.
    """
    return UserClaims(
        subject=subject,
        name=SENTINEL_USER,
        issuer_account=account,
        issued_at=issued_at,
    ).scoped()
