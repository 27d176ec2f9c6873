"""The page of subjects: what a user may, written out for one, as the policy makes it."""

from __future__ import annotations

from authsvc.server.policy import permissions
from authsvc.subjects import token
from handbook.tables import table

__all__ = ["page"]

_WHO = "alice@example.com"
_APP = "chat"

_HEAD = """# Subjects and permissions

Names in subjects are encoded: the UTF-8 bytes `a-z A-Z 0-9 _ - @ +` stay, every other byte becomes
`%XX` in upper case. Two names never share a token. `authsvc.subjects.token` does it, and [test
vectors](https://github.com/OpenMined/authsvc/tree/main/tests/vectors) show it.

"""

_SUBJECTS = [
    ["`requests.{requester}.{responder}.{app}`", "the requester", "the app, queue group `{app}`"],
    ["`responses.{requester}.{responder}.{app}.{request id}`", "the responder", "the requester"],
    [
        "`requests.{requester}.{responder}.{app}.stored`",
        "the requester",
        "the stream `requests_{responder}`, where the app is registered as offline",
    ],
    [
        "`responses.{requester}.{responder}.{app}.{request id}.stored`",
        "the responder",
        "the requester, and the stream `responses_{requester}`",
    ],
    ["`_INBOX.{user}.>`", "nats-server", "the user"],
]
_MORE = """
[The wire format](../wire.md#subjects) has the others, of bodies in chunks and of cancellation.

"""

_WHAT = {
    "requests.{u}.>": "call anybody",
    "responses.*.{u}.>": "answer anybody",
    "$JS.mail.API.CONSUMER.MSG.NEXT.requests_{u}.*": "take own stored requests",
    "$JS.ACK.requests_{u}.>": "acknowledge them",
    "$JS.ACK._.*.requests_{u}.>": "the same, in nats-server's second format",
    "$JS.mail.API.STREAM.MSG.GET.responses_{u}": "read own stored responses",
    "$SYS.REQ.USER.INFO": "ask nats-server who one is",
    "responses.{u}.>": "hear responses, live and stored",
    "requests.*.{u}.>": "hear requests to any app of one's own",
    "_INBOX.{u}.>": "hear what nats-server answers",
}
_NARROWED = """
## A credential narrowed to one app

`{{"app": "{app}"}}` in `POST /v1/credentials` gives a JWT that calls and answers as that app
alone:

"""


def page() -> str:
    """The page."""
    user = token(_WHO)
    rows = [[f"`{name}`", f"`{token(name)}`"] for name in _EXAMPLES]
    whole, narrowed = permissions(user), permissions(user, token(_APP))
    explained = {key.format(u=user): text for key, text in _WHAT.items()}
    for subject in [*whole.publish.allow, *whole.subscribe.allow]:
        if subject not in explained:
            raise LookupError(f"handbook/subjects.py does not say what {subject} is for")
    return (
        _HEAD
        + table(["name", "token"], rows)
        + "\n## The tree\n\n"
        + table(["subject", "published by", "heard by"], _SUBJECTS)
        + _MORE
        + f"## What {_WHO} may\n\nNothing else, unless an administrator granted it.\n\n"
        + table(
            ["", "subject", "to"],
            [
                *(["publish", f"`{it}`", explained[it]] for it in whole.publish.allow),
                *(["subscribe", f"`{it}`", explained[it]] for it in whole.subscribe.allow),
            ],
        )
        + _NARROWED.format(app=_APP)
        + table(
            ["", "subject"],
            [
                *(["publish", f"`{it}`"] for it in narrowed.publish.allow),
                *(["subscribe", f"`{it}`"] for it in narrowed.subscribe.allow),
            ],
        )
    )


_EXAMPLES = [
    _WHO,
    "alice.smith+x@example.com",
    "a*b@example.com",
    "a>b@example.com",
    "zoë@example.com",
    "data loader",
]
