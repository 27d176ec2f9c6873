"""Who somebody is: before and after it is proven, in two types that can't be mixed up."""

from __future__ import annotations

from dataclasses import InitVar, dataclass
from typing import Protocol

from authsvc import subjects

__all__ = ["Identity", "LoginMethod", "proved"]

_PROOF = object()


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
    _proof: InitVar[object] = None

    def __post_init__(self, _proof: object) -> None:
        if _proof is not _PROOF:
            raise TypeError("an Identity is made by a login method, from what it has verified")


def proved(name: str, *, email: bool, method: str, expires_at: int | None) -> Identity:
    """The identity of a name that has just been proven; for login methods alone.

    Args:
        name: As it was proven.
        email: Whether the method proves e-mails.
        method: The login method's name.
        expires_at: When the proof ends, in seconds since the epoch.

    Raises:
        InvalidName: The contract refuses the name.
    """
    return Identity(subjects.username(name, email=email), email, method, expires_at, _PROOF)


class LoginMethod(Protocol):
    """A way to prove who one is."""

    @property
    def name(self) -> str:
        """How clients ask for it."""

    async def verify(self, token: str, now: float) -> Identity:
        """Who presents the token.

        Args:
            token: As presented, nothing checked.
            now: Seconds since the epoch.

        Raises:
            InvalidToken: It proves nothing; ``reason`` says why, for the log.
            InvalidName: It proves a name that the contract refuses.
            LoginUnavailable: It can't be verified now.
        """

    def describe(self) -> dict[str, str]:
        """What clients are told about it; ``name`` at least."""

    async def close(self) -> None:
        """Let go of what is held open."""
