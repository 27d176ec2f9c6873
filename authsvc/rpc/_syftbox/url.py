"""``syft://`` URLs, taken apart and put together; no I/O.

The form is SyftBox's: ``syft://{username}/app_data/{app}/rpc/{endpoint}``. Names are
percent-encoded where a URL needs it (RFC 3986), so each username and app that the contract allows
has one; what SyftBox writes unencoded is read as it is.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Self
from urllib.parse import quote, unquote

from authsvc import subjects
from authsvc.errors import InvalidInput
from authsvc.rpc._messages.message import travelling

__all__ = ["SCHEME", "SyftUrl"]

SCHEME = "syft://"

_URL = re.compile(
    r"syft://([^/?#]+)/(?:app_data|api_data)/([^/?#]+)(?:/rpc(?![^/?#]))?(/[^?#]*)?(\?[^#]*)?\Z"
)
_NAME_SAFE = "!$&'()*+,;=:@"
_MAX_BYTES = 16_384


class SyftUrl(NamedTuple):
    """``syft://{username}/app_data/{app}/rpc/{endpoint}``, taken apart.

    ``str()`` of it is the URL again.

    Args:
        username: Whose app it is; canonical.
        app: The app; canonical.
        target: Path and query of the endpoint, such as ``/ping?n=1``.
    """

    username: str
    app: str
    target: str = "/"

    @classmethod
    def of(cls, username: str, app: str, target: str = "/") -> Self:
        """The URL of an app's endpoint; a slash in front of the target may be missing.

        Raises:
            InvalidName: The contract refuses a name.
            InvalidInput: The target holds a fragment, which no server ever sees.
        """
        if "#" in target:
            raise InvalidInput("a syft URL has no fragment: percent-encode '#' as %23")
        try:
            found = travelling(target)
        except UnicodeEncodeError as error:
            raise InvalidInput("the target of a syft URL holds a lone surrogate") from error
        return cls(subjects.username(username), subjects.app_name(app), found)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read such a URL; ``/rpc`` and the endpoint may be missing.

        Raises:
            InvalidInput: It is none.
        """
        match = _URL.match(url) if len(url) <= _MAX_BYTES else None
        if match is None:
            raise InvalidInput(
                f"{url[:200]!r} is no syft URL: syft://bob@example.com/app_data/app/rpc/endpoint"
            )
        try:
            name, app = (unquote(part, errors="strict") for part in match.group(1, 2))
        except UnicodeDecodeError as error:
            raise InvalidInput(f"{url[:200]!r} holds a %XX that is no UTF-8") from error
        return cls.of(name, app, (match[3] or "/") + (match[4] or ""))

    def __str__(self) -> str:
        name, app = quote(self.username, safe=_NAME_SAFE), quote(self.app, safe=_NAME_SAFE)
        return f"{SCHEME}{name}/app_data/{app}/rpc{self.target}"
