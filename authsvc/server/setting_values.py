"""What the text of a setting may be: URLs, paths, networks, lists; all checked as they are read."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import NoDecode

from authsvc import subjects
from authsvc.errors import InvalidName

__all__ = [
    "OIDC_ALGORITHMS",
    "Algorithms",
    "Issuer",
    "NatsUrls",
    "Networks",
    "OptionalPath",
    "OptionalSecret",
    "OptionalText",
    "OptionalUrl",
    "Usernames",
    "WebUrls",
    "is_loopback",
]


def _words(value: object) -> object:
    if isinstance(value, str):
        return [word.strip() for word in value.split(",") if word.strip()]
    return value


def _nats_url(url: str) -> str:
    _check_url(url, ("nats", "tls", "ws", "wss"))
    return url


def _web_url(url: str) -> str:
    parts = _check_url(url, ("http", "https"))
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError("a URL without user, query and fragment is needed")
    return url.rstrip("/")


def _check_url(url: str, schemes: tuple[str, ...]) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme not in schemes or not parts.hostname:
        raise ValueError(
            f"a URL that begins with {', '.join(s + '://' for s in schemes)} is needed"
        )
    _ = parts.port  # raises ValueError when it is no port
    return parts


def _absolute(path: Path | None) -> Path | None:
    return path and path.expanduser().absolute()


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise ValueError(
            "addresses and networks are needed, such as 10.0.0.7 or 10.0.0.0/8"
        ) from None


def _absent(value: object) -> object:
    """An empty variable means the same as none: docker-compose can't leave one out."""
    return None if value == "" else value


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can reach a socket that is bound there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _issuer(value: object) -> object:
    """As ``iss`` has it to the letter, so a slash at its end stays."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        return value
    parts = urlsplit(value)
    if "?" in value or "#" in value or "@" in parts.netloc or not value.isascii():
        raise ValueError("a URL without user, query and fragment is needed")
    _check_url(value, ("http", "https"))
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ValueError("https is needed, but for a provider on this machine")
    return value


OIDC_ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
"""What ``oidc_algorithms`` may hold: signatures that only the provider can make."""


def _algorithms(names: list[str]) -> list[str]:
    if not names or any(name not in OIDC_ALGORITHMS for name in names):
        raise ValueError(f"some of {', '.join(OIDC_ALGORITHMS)} are needed")
    return names


def _usernames(names: list[str]) -> list[str]:
    try:
        return [subjects.username(name) for name in names]
    except InvalidName as error:
        raise ValueError(str(error)) from None


_WebUrl = Annotated[str, AfterValidator(_web_url)]
_NatsUrl = Annotated[str, AfterValidator(_nats_url)]
WebUrls = Annotated[list[_WebUrl], NoDecode, BeforeValidator(_words)]
NatsUrls = Annotated[list[_NatsUrl], NoDecode, BeforeValidator(_words)]
OptionalUrl = Annotated[_WebUrl | None, BeforeValidator(_absent)]
OptionalPath = Annotated[Path | None, BeforeValidator(_absent), AfterValidator(_absolute)]
Networks = Annotated[
    list[Annotated[str, AfterValidator(_network)]], NoDecode, BeforeValidator(_words)
]
OptionalText = Annotated[str | None, BeforeValidator(_absent)]
Issuer = Annotated[str | None, BeforeValidator(_issuer)]
Usernames = Annotated[list[str], NoDecode, BeforeValidator(_words), AfterValidator(_usernames)]
Algorithms = Annotated[list[str], NoDecode, BeforeValidator(_words), AfterValidator(_algorithms)]
OptionalSecret = Annotated[SecretStr | None, BeforeValidator(_absent)]
