"""From a user to what the user may publish and subscribe: pure, and the only place that says so.

    permissions(token("alice@example.com"))         # the contract's section 2
    explain(perms, "publish", "requests.alice...")  # the entry that allows it, or None

Only allow lists are written: deny rules failed in nats-server more than once (CVE-2022-29946
and later), and an empty allow list allows everything, so none is ever empty.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol

from authsvc import subjects
from authsvc.claims import Permission, Permissions

__all__ = [
    "JS_PREFIX",
    "TEMPLATE_MARK",
    "TEMPLATE_NAME",
    "Action",
    "GrantLike",
    "explain",
    "permissions",
    "stream_names",
    "template",
]

Action = Literal["publish", "subscribe"]

JS_PREFIX = "$JS.mail.API"
"""Where people find MAIL's two JetStream services; see the contract, section 2."""

TEMPLATE_MARK = "{{"
"""What begins an expression that nats-server replaces in a scoped signing key's template."""

TEMPLATE_NAME = "{{name()}}"
"""It becomes the name of the user JWT, which is the user's token."""


class GrantLike(Protocol):
    """What an administrator allowed in addition."""

    @property
    def publish(self) -> list[str]:
        """Subjects that may be published to."""

    @property
    def subscribe(self) -> list[str]:
        """Subjects that may be subscribed to."""


def stream_names(token: str) -> tuple[str, str]:
    """The names of a user's two streams: requests and responses."""
    return f"requests_{token}", f"responses_{token}"


def permissions(
    token: str, app: str | None = None, grants: Iterable[GrantLike] = ()
) -> Permissions:
    """What the user behind the token may do.

    Args:
        token: The user's encoded name, one NATS token.
        app: The encoded name of the one app that the credential is narrowed to, if it is.
        grants: What administrators allowed in addition; a narrowed credential gets none of it.
    """
    if app is not None:
        publish, subscribe = _narrowed(token, app)
    else:
        publish, subscribe = _whole(token)
        for grant in grants:
            publish += [subject for subject in grant.publish if subject not in publish]
            subscribe += [subject for subject in grant.subscribe if subject not in subscribe]
    return Permissions(
        publish=Permission(allow=tuple(publish)), subscribe=Permission(allow=tuple(subscribe))
    )


def template(grants: Iterable[GrantLike] = ()) -> Permissions:
    """What every user of a scoped signing key may do, for nats-server to fill the token in.

    Filled in, it is what ``permissions`` gives for the token. Entries that nats-server would take
    for expressions of their own are left out; whoever grants is refused them before.

    Args:
        grants: What administrators allowed the role.
    """
    plain = [_Plain(grant) for grant in grants]
    return permissions(TEMPLATE_NAME, grants=plain)


class _Plain:
    """A grant without what a template would replace."""

    def __init__(self, grant: GrantLike) -> None:
        self.publish = [entry for entry in grant.publish if TEMPLATE_MARK not in entry]
        self.subscribe = [entry for entry in grant.subscribe if TEMPLATE_MARK not in entry]


def _whole(token: str) -> tuple[list[str], list[str]]:
    requests, responses = stream_names(token)
    publish = [
        f"requests.{token}.>",
        f"responses.*.{token}.>",
        f"{JS_PREFIX}.CONSUMER.MSG.NEXT.{requests}.*",
        f"$JS.ACK.{requests}.>",
        f"$JS.ACK._.*.{requests}.>",
        f"{JS_PREFIX}.STREAM.MSG.GET.{responses}",
        "$SYS.REQ.USER.INFO",
    ]
    subscribe = [f"responses.{token}.>", f"requests.*.{token}.>", f"_INBOX.{token}.>"]
    return publish, subscribe


def _narrowed(token: str, app: str) -> tuple[list[str], list[str]]:
    # The same user, but only ever as this app: calls and serves it, and takes its own stored
    # requests. Stored responses are not readable by message number, which knows no app.
    requests, _ = stream_names(token)
    publish = [
        f"requests.{token}.*.{app}",
        f"requests.{token}.*.{app}.>",  # stored, and bodies in chunks
        f"responses.*.{token}.{app}.>",
        f"{JS_PREFIX}.CONSUMER.MSG.NEXT.{requests}.{app}",
        f"$JS.ACK.{requests}.{app}.>",
        f"$JS.ACK._.*.{requests}.{app}.>",
        "$SYS.REQ.USER.INFO",
    ]
    subscribe = [
        f"responses.{token}.*.{app}.>",
        f"requests.*.{token}.{app}",
        f"requests.*.{token}.{app}.>",
        f"_INBOX.{token}.>",
    ]
    return publish, subscribe


def explain(allowed: Permissions, action: Action, subject: str) -> str | None:
    """The allow entry that covers the subject, or None where it is refused.

    Args:
        allowed: What the user may do.
        action: ``publish`` or ``subscribe``.
        subject: A subject; a subscription's may hold wildcards.

    Raises:
        InvalidSubject: nats-server would refuse the subject itself.
    """
    subjects.validate(subject, wildcards=action == "subscribe")
    if subject == ">" or subject.endswith(".>"):
        # nats-server compares token by token: to it, an entry "a.*" allows subscribing to "a.>".
        subject = f"{subject[:-1]}*"
    entries = allowed.publish.allow if action == "publish" else allowed.subscribe.allow
    return next((entry for entry in entries if subjects.covers(entry, subject)), None)
