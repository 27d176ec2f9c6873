"""Who somebody is: before and after it is proven, in two types that can't be mixed up."""

from __future__ import annotations

from dataclasses import InitVar, dataclass
from typing import Literal, Protocol

from authsvc import subjects
from authsvc.errors import InvalidToken

__all__ = ["Identity", "LoginMethod", "Ticket", "check_claim", "proved"]

_PROOF = object()


@dataclass(frozen=True, slots=True)
class Ticket:
    """What stands behind a proof that works a limited number of times.

    It is used up in the transaction that issues the credential, and not before: many who present
    it at once, to several replicas, get together what it is good for.

    Args:
        kind: Of which table the row is.
        id: The row's.
        tags: Of the enrolment key, for the audit.
    """

    kind: Literal["enrolment", "device"]
    id: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody whom a login method proved. Only a login method makes one, by ``proved``."""

    username: str
    """Canonical."""
    email: bool
    """Whether the method proves e-mails."""
    method: str
    """The login method's name."""
    expires_at: int | None
    """When the proof ends, in seconds since the epoch; None if it says nothing about that."""
    ticket: Ticket | None = None
    """What has to be used up when it is acted on."""
    _proof: InitVar[object] = None

    def __post_init__(self, _proof: object) -> None:
        if _proof is not _PROOF:
            raise TypeError("an Identity is made by a login method, from what it has verified")


def proved(
    name: str,
    *,
    email: bool,
    method: str,
    expires_at: int | None,
    claimed: str | None = None,
    ticket: Ticket | None = None,
) -> Identity:
    """The identity of a name that has just been proven; for login methods alone.

    Args:
        name: As it was proven.
        email: Whether the method proves e-mails.
        method: The login method's name.
        expires_at: When the proof ends, in seconds since the epoch.
        claimed: Who the client says it is, if it does.
        ticket: What has to be used up.

    Raises:
        InvalidName: The contract refuses the name.
        InvalidToken: The client says it is somebody else.
    """
    username = subjects.username(name, email=email)
    if claimed is not None:
        check_claim(username, claimed)
    return Identity(username, email, method, expires_at, ticket, _PROOF)


def check_claim(username: str, claimed: str) -> None:
    """See that the client says it is who was proven.

    Args:
        username: Canonical.
        claimed: As the client says it.

    Raises:
        InvalidName: The contract refuses what the client says.
        InvalidToken: It is somebody else.
    """
    if subjects.username(claimed) != username:
        raise InvalidToken("token: it proves another user than the client names")


class LoginMethod(Protocol):
    """A way to prove who one is."""

    @property
    def name(self) -> str:
        """How clients ask for it."""

    async def verify(self, token: str, now: float, *, claimed: str | None = None) -> Identity:
        """Who presents the token.

        Args:
            token: As presented, nothing checked.
            now: Seconds since the epoch.
            claimed: Who the client says it is, if it does; nothing is believed because of it.

        Raises:
            InvalidToken: It proves nothing, or somebody else; ``reason`` says why, for the log.
            InvalidName: It proves a name that the contract refuses.
            Forbidden: It proves something, but not the name that the client asks for.
            LoginUnavailable: It can't be verified now.
        """

    def describe(self) -> dict[str, str]:
        """What clients are told about it; ``name`` at least."""

    async def close(self) -> None:
        """Let go of what is held open."""
