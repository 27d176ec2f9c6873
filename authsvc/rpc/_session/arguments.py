"""The credential arguments that AsyncClient, Client and Service.run share, for type checkers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TypedDict

from authsvc.rpc._messages.middleware import CallMiddleware
from authsvc.rpc._session.credentials import CredentialSource, TokenTypes
from authsvc.rpc._session.keys import KeyTypes

__all__ = ["CredentialArguments"]


class CredentialArguments(TypedDict, total=False):
    """What AsyncClient takes besides ``url``; it says what each means."""

    token: TokenTypes | None
    key: KeyTypes
    creds: str | os.PathLike[str] | None
    servers: Sequence[str]
    method: str | None
    name: str | None
    source: CredentialSource | None
    middleware: Iterable[CallMiddleware]
    sign: bool
    require_signed: bool
    trusted_issuers: Iterable[str]
