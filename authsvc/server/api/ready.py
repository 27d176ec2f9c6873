"""JSON that is ready, and how it leaves in one piece.

Starlette makes an answer of headers that anybody may have changed, and uvicorn looks each of them
through. Where both are known, that costs as much as a third of a signature.
"""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Scope

__all__ = ["WHOLE", "ReadyJson"]

WHOLE = "authsvc.whole"
"""Under which a request's scope has what answers at once: called with the scope, the status, the
headers and the body, it says whether it did."""


class ReadyJson(Response):
    """An answer of JSON with no headers of its own.

    Args:
        body: In bytes.
        status: Of the answer.
    """

    media_type = "application/json"

    def __init__(self, body: bytes, status: int) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = [
            (b"content-length", b"%d" % len(body)),
            (b"content-type", b"application/json"),
        ]

    def leave(self, scope: Scope, headers: bytes) -> bool:
        """Leave in one piece, if that is possible.

        Args:
            scope: The request's.
            headers: What else the answer says.
        """
        whole = scope.get(WHOLE)
        if whole is None:
            return False
        own = b"".join([b"%b: %b\r\n" % header for header in self.raw_headers])
        left: bool = whole(scope, self.status_code, own + headers, self.body)
        return left
