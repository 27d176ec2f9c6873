"""What the two streams of a mailbox, and the consumers of its apps, look like. Pure.

Streams that users publish into have no roll-up, no direct get, no schedules, no counters and no
TTL: headers of one message would reach others, and DIRECT.GET would hand over an attacker's
headers under a forged subject.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from authsvc.server.policy import stream_names
from authsvc.subjects import STORED

__all__ = [
    "ADVISORIES",
    "DEAD_LETTERS",
    "OWNER",
    "Bounds",
    "Desired",
    "advisory_consumer",
    "advisory_stream",
    "app_consumer",
    "app_subject",
    "differs",
    "nowhere",
    "owner_of",
    "request_stream",
    "response_stream",
]

OWNER = "authsvc.user"
"""The member of a stream's metadata that says whose it is: a name may be somebody else's later."""
ADVISORIES, DEAD_LETTERS = "advisories", "dead-letters"
"""The stream that keeps what nats-server tells about messages that were handed out too often, and
its consumer, which all replicas share."""

_NS = 1_000_000_000
_DUPLICATES_SECONDS = 120
_MAX_MESSAGES = 50_000
_MAX_PULL = 512
_MAX_PULL_SECONDS = 60
_MAX_PULL_BYTES = 32 * 1024 * 1024
_MAX_WAITING_PULLS = 256
_MAX_UNACKNOWLEDGED = 1024
_ADVISORY_SECONDS = 7 * 86400
_ADVISORY_MESSAGES = 100_000
_OFF = dict.fromkeys(
    (
        "allow_rollup_hdrs",
        "allow_direct",
        "allow_msg_ttl",
        "allow_msg_counter",
        "allow_msg_schedules",
        "allow_atomic",
    ),
    False,
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What holds for every mailbox.

    Args:
        replicas: Of each stream, in a cluster.
        max_bytes: Of each stream; nats-server sets as much aside.
        backoff: Seconds after which a request that was not acknowledged is handed out again, by
            the number of times that it was; the last one counts on.
        max_deliver: How often a request is handed out.
    """

    replicas: int = 1
    max_bytes: int = 16 * 1024 * 1024
    # A contract: what a responder took that died is handed out again within 30 seconds.
    backoff: tuple[int, ...] = (12, 15, 20, 25)
    # A service that is started again gives back what it had only taken ahead: that counts too.
    max_deliver: int = 10


@dataclass(frozen=True, slots=True)
class Desired:
    """A mailbox as its rows say.

    Args:
        owner: The user's id.
        token: The user's name in subjects.
        apps: Of the apps that take stored requests, their names in subjects, in order.
        responses: Whether responses are kept.
        max_age: Seconds that a message is kept.
        max_pending: Requests that may wait of one requester for one app.
        revision: Of the rows.
        applied: The revision that nats-server has, as far as is known.
    """

    owner: str
    token: str
    apps: tuple[str, ...] = ()
    responses: bool = False
    max_age: int = 604_800
    max_pending: int = 1000
    revision: int = 0
    applied: int = field(default=0, compare=False)

    @property
    def streams(self) -> set[str]:
        """The names of the streams that are wanted."""
        requests, responses = stream_names(self.token)
        return ({requests} if self.apps else set()) | ({responses} if self.responses else set())


def app_subject(token: str, app: str) -> str:
    """On which stored requests for the app of a user arrive, from whomever."""
    return f"requests.*.{token}.{app}.{STORED}"


def nowhere(token: str) -> str:
    """A subject that nobody publishes to: a stream without one would listen to its own name."""
    return f"nothing.{token}"


def request_stream(desired: Desired, bounds: Bounds, subjects: list[str]) -> dict[str, Any]:
    """The stream of requests.

    Args:
        desired: The mailbox.
        bounds: Of every mailbox.
        subjects: What it keeps; a subject comes after its consumer, and goes before it.
    """
    return {
        "name": stream_names(desired.token)[0],
        "subjects": subjects,
        "retention": "workqueue",
        # A flood is refused, and only where it comes from: nothing that waits is lost to it.
        "discard": "new",
        "discard_new_per_subject": True,
        "max_msgs_per_subject": desired.max_pending,
        "max_msgs": _MAX_MESSAGES,
        **_common(desired, bounds),
        # The id of a request is its message id: sent twice, it is kept once.
        "duplicate_window": min(_DUPLICATES_SECONDS, desired.max_age) * _NS,
    }


def response_stream(desired: Desired, bounds: Bounds) -> dict[str, Any]:
    """The stream of responses: the newest of each subject, which names the request."""
    return {
        "name": stream_names(desired.token)[1],
        "subjects": [f"responses.{desired.token}.*.*.*.{STORED}"],
        "retention": "limits",
        # Nobody takes responses out; the oldest make room.
        "discard": "old",
        "max_msgs_per_subject": 1,
        "max_msgs": _MAX_MESSAGES,
        **_common(desired, bounds),
        # Answers carry no message id; of one that somebody gives all the same, little is kept.
        "duplicate_window": _NS // 10,
    }


def _common(desired: Desired, bounds: Bounds) -> dict[str, Any]:
    return {
        "storage": "file",
        "max_age": desired.max_age * _NS,
        "max_bytes": bounds.max_bytes,
        "num_replicas": bounds.replicas,
        "metadata": {OWNER: desired.owner},
        **_OFF,
    }


def app_consumer(token: str, app: str, bounds: Bounds) -> dict[str, Any]:
    """The durable consumer by which an app takes its requests."""
    return {
        "name": app,
        "durable_name": app,
        "filter_subject": app_subject(token, app),
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "replay_policy": "instant",
        "backoff": [seconds * _NS for seconds in bounds.backoff],
        "max_deliver": bounds.max_deliver,
        "max_ack_pending": _MAX_UNACKNOWLEDGED,
        # What one pull may ask, and how many may wait.
        "max_batch": _MAX_PULL,
        "max_expires": _MAX_PULL_SECONDS * _NS,
        "max_bytes": _MAX_PULL_BYTES,
        "max_waiting": _MAX_WAITING_PULLS,
    }


def advisory_stream(bounds: Bounds) -> dict[str, Any]:
    """The stream of what nats-server tells when it has handed out a message for the last time.

    It tells it once, to whoever listens: a stream listens always.
    """
    return {
        "name": ADVISORIES,
        "subjects": ["$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.*.*"],
        "retention": "workqueue",
        "storage": "file",
        "discard": "old",
        "max_age": _ADVISORY_SECONDS * _NS,
        "max_msgs": _ADVISORY_MESSAGES,
        "num_replicas": bounds.replicas,
        **_OFF,
    }


def advisory_consumer() -> dict[str, Any]:
    """The consumer of those."""
    return {
        "name": DEAD_LETTERS,
        "durable_name": DEAD_LETTERS,
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "replay_policy": "instant",
        "ack_wait": 30 * _NS,
    }


def differs(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Whether a stream or consumer is another than wanted, in what was said about it."""
    for name, value in wanted.items():
        there = found.get(name)
        if isinstance(value, Mapping):
            if differs(value, there if isinstance(there, Mapping) else {}):
                return True
        elif (there or None) != (value or None):  # nats-server leaves out what is off
            return True
    return False


def owner_of(config: Mapping[str, Any]) -> str | None:
    """Whose a stream is; None where it does not say."""
    owner = (config.get("metadata") or {}).get(OWNER)
    return owner if isinstance(owner, str) else None
