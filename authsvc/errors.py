"""Every exception that authsvc raises on purpose.

::

    AuthsvcError
    ├── InvalidInput                also a ValueError
    │   ├── InvalidName             a username or app name the contract refuses
    │   ├── InvalidSubject          not a NATS subject, or not one of ours
    │   ├── InvalidKey              not an nkey, or its checksum, length or kind is wrong
    │   ├── InvalidClaims           a JWT or .creds text that does not hold; ``issues``
    │   │   └── ClaimsTooLarge      would not fit nats-server's CONNECT line
    │   ├── InvalidMessage          bytes that are not our wire format
    │   ├── InvalidBackup           no backup, one that was changed, or that can't be opened
    │   ├── DangerousGrant          reaches into what belongs to others, and does not say so
    │   └── IdempotencyMismatch     an Idempotency-Key that came with another request before
    ├── AuthenticationFailed        one public message; ``reason`` is for the log
    │   ├── InvalidToken            an identity token or NATS JWT was refused
    │   └── InvalidProof            a DPoP proof was refused
    ├── Forbidden
    │   ├── UserDisabled
    │   ├── UserUnknown             users are not created by their first login here
    │   └── ScopeMissing            the API key lacks a scope
    ├── Conflict
    │   ├── KeyTaken                the nkey belongs to another user or purpose
    │   ├── KeyRevoked              the nkey was revoked and is dead
    │   ├── RequestInProgress       the same request is being handled right now
    │   ├── WouldCutOff             it would end connections; to be confirmed
    │   ├── AccountFull             the account JWT has no room for more revocations
    │   ├── UserExists              the username is taken
    │   └── VersionMismatch         somebody else changed it in the meantime
    ├── NotFound
    ├── TooManyRequests             a limit is reached; ``retry_after``
    ├── Unavailable                 try again later
    │   ├── LoginUnavailable        the login server can't be reached
    │   ├── StoreUnavailable        the database can't be reached
    │   ├── KeyUnavailable          no signing key can be used
    │   └── Overloaded              more is asked for than can be answered in time
    ├── StartRefused                the service can't start; the message says what to do
    │   ├── WrongMasterKey
    │   ├── PortTaken
    │   └── ServerBinaryRefused     no nats-server, too old, or not the pinned one
    ├── ApiError                    the service answered with a problem document
    └── RpcError
        ├── NoResponder             nobody there, known at once
        ├── DeadlineExceeded        also a builtin TimeoutError
        ├── PermissionDenied        nats-server refused this very call
        ├── Expired                 the request's deadline passed before it was handled
        ├── RemoteError             the responder answered with an error; ``status``, ``content``
        ├── PayloadTooLarge
        ├── Backlogged              the pair's limit of stored requests is reached
        ├── NotAuthenticated        no usable credential
        └── Disconnected            the connection broke while the call was in flight

No HTTP status stands here, but for what a remote side answered.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "AccountFull",
    "ApiError",
    "AuthenticationFailed",
    "AuthsvcError",
    "Backlogged",
    "ClaimsTooLarge",
    "Conflict",
    "DangerousGrant",
    "DeadlineExceeded",
    "Disconnected",
    "Expired",
    "Forbidden",
    "IdempotencyMismatch",
    "InvalidBackup",
    "InvalidClaims",
    "InvalidInput",
    "InvalidKey",
    "InvalidMessage",
    "InvalidName",
    "InvalidProof",
    "InvalidSubject",
    "InvalidToken",
    "KeyRevoked",
    "KeyTaken",
    "KeyUnavailable",
    "LoginUnavailable",
    "NoResponder",
    "NotAuthenticated",
    "NotFound",
    "Overloaded",
    "PayloadTooLarge",
    "PermissionDenied",
    "PortTaken",
    "RemoteError",
    "RequestInProgress",
    "RpcError",
    "ScopeMissing",
    "ServerBinaryRefused",
    "StartRefused",
    "StoreUnavailable",
    "TooManyRequests",
    "Unavailable",
    "UserDisabled",
    "UserExists",
    "UserUnknown",
    "VersionMismatch",
    "WouldCutOff",
    "WrongMasterKey",
]


class AuthsvcError(Exception):
    """The root of the tree: catch it to catch everything authsvc raises on purpose."""


class InvalidInput(AuthsvcError, ValueError):
    """Something that was handed in can't be what it claims to be.

    Args:
        message: What is wrong.
        place: Where in a request it stood, such as ``body.method``, if that is known.
    """

    def __init__(self, message: str = "", place: str = "") -> None:
        super().__init__(message)
        self.place = place


class InvalidName(InvalidInput):
    """A username or app name that the contract refuses; the message says why."""


class InvalidSubject(InvalidInput):
    """Not a NATS subject, or not one of ours."""


class InvalidKey(InvalidInput):
    """Not an nkey: its alphabet, length, checksum or prefix is wrong."""


class InvalidClaims(InvalidInput):
    """A JWT or ``.creds`` text that can't be read, verified or accepted.

    Args:
        message: What is wrong.
        issues: Every single thing found, where validation found several.
    """

    def __init__(self, message: str, issues: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.issues = tuple(issues)


class ClaimsTooLarge(InvalidClaims):
    """The JWT would not fit nats-server's CONNECT line."""


class InvalidMessage(InvalidInput):
    """Bytes that are not a message of the wire format."""


class InvalidBackup(InvalidInput):
    """A file is no backup, was changed or cut off, or can't be opened or taken here."""


class DangerousGrant(InvalidInput):
    """A grant reaches into what belongs to others, and does not say that this is meant."""


class IdempotencyMismatch(InvalidInput):
    """The Idempotency-Key came with another request before."""


class AuthenticationFailed(AuthsvcError):
    """Proof was asked for and did not hold.

    The message is the same whatever went wrong, so that nothing can be learnt from it.

    Args:
        reason: What went wrong, for the log; never for the answer.
    """

    def __init__(self, reason: str) -> None:
        super().__init__("The request could not be authenticated.")
        self.reason = reason


class InvalidToken(AuthenticationFailed):
    """An identity token or NATS user JWT was refused."""


class InvalidProof(AuthenticationFailed):
    """A DPoP proof of possession was refused."""


class Forbidden(AuthsvcError):
    """Who asks is known, and may not."""


class UserDisabled(Forbidden):
    """An administrator disabled the user."""


class UserUnknown(Forbidden):
    """The user does not exist, and logging in does not create users here."""


class ScopeMissing(Forbidden):
    """The API key lacks a scope."""


class Conflict(AuthsvcError):
    """The state of things does not allow it."""


class KeyTaken(Conflict):
    """The nkey belongs to another user, or was narrowed to another app."""


class KeyRevoked(Conflict):
    """The nkey was revoked; a new one is needed."""


class RequestInProgress(Conflict):
    """A request with the same Idempotency-Key is being handled right now."""


class WouldCutOff(Conflict):
    """It would end connections of people and was not confirmed.

    Args:
        message: What would happen and what to do.
        credentials: How many credentials would be cut off.
        users: Whose they are, the first of them.
    """

    def __init__(self, message: str, credentials: int, users: Sequence[str]) -> None:
        super().__init__(message)
        self.credentials = credentials
        self.users = tuple(users)


class AccountFull(Conflict):
    """The account JWT would become larger than nats-server takes."""


class UserExists(Conflict):
    """There is a user of that name already."""


class VersionMismatch(Conflict):
    """It was changed since it was read; read it again."""


class NotFound(AuthsvcError):
    """There is no such thing, or not for who asks."""


class TooManyRequests(AuthsvcError):
    """A limit on how often somebody may try is reached.

    Args:
        message: Which, and what to do.
        retry_after: Seconds until the next try counts.
    """

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(AuthsvcError):
    """It can't be answered now; try again later."""


class LoginUnavailable(Unavailable):
    """The server that could prove the identity can't be reached."""


class StoreUnavailable(Unavailable):
    """The database can't be reached, or refuses to write."""


class KeyUnavailable(Unavailable):
    """No signing key can be used now."""


class Overloaded(Unavailable):
    """More is asked for than can be answered in time; what was taken before goes on."""


class StartRefused(AuthsvcError):
    """The service can't start like this; the message says what to do."""


class WrongMasterKey(StartRefused):
    """The master key does not open what is stored."""


class PortTaken(StartRefused):
    """Another process listens on the port."""


class ServerBinaryRefused(StartRefused):
    """There is no nats-server, it is too old, or it is not the pinned one."""


class ApiError(AuthsvcError):
    """The service answered with a problem document (RFC 9457).

    Args:
        status: The HTTP status.
        problem: The document's members; empty if the answer was no problem document.
        retry_after: Seconds to wait before another try, if the answer said so.
    """

    def __init__(
        self, status: int, problem: dict[str, object], retry_after: float | None = None
    ) -> None:
        detail = problem.get("detail") or problem.get("title") or "no detail"
        super().__init__(f"authsvc answered {status}: {detail}")
        self.status = status
        self.problem = problem
        self.retry_after = retry_after

    @property
    def slug(self) -> str:
        """The last part of the problem's ``type``, such as ``key-revoked``."""
        return str(self.problem.get("type", "")).rpartition(":")[2]


class RpcError(AuthsvcError):
    """A call did not end with a response."""


class NoResponder(RpcError):
    """Nobody listens for the app; known at once."""


class DeadlineExceeded(RpcError, TimeoutError):
    """No response came in time."""


class PermissionDenied(RpcError):
    """nats-server refused what this very call needed, or the user may not act any more."""


class Expired(RpcError):
    """The request's deadline passed before it was handled."""


class RemoteError(RpcError):
    """The responder answered with an error status.

    Args:
        status: The status, HTTP-shaped.
        content: The body of the answer.
    """

    def __init__(self, status: int, content: bytes = b"") -> None:
        text = content[:200].decode("utf-8", "replace")
        super().__init__(f"the responder answered {status}" + (f": {text}" if text else ""))
        self.status = status
        self.content = content


class PayloadTooLarge(RpcError):
    """The message is above what nats-server or this user may carry."""


class Backlogged(RpcError):
    """As many requests of this pair wait as may wait."""


class NotAuthenticated(RpcError):
    """There is no credential, or it can't be renewed; log in again."""


class Disconnected(RpcError):
    """The connection broke while the call was in flight; it may or may not have been handled."""
