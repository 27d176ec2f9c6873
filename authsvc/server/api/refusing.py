"""The answer to whoever can't be let in now, from the bytes of the request alone.

Refusing has to cost far less than answering, or those who are refused take the time of those who
are answered: at three times of what can be answered, a refusal of a third of the work leaves
nothing at all. So it is given before the request is parsed, to requests that came in one piece.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from authsvc import jose
from authsvc.errors import Overloaded
from authsvc.server import metrics
from authsvc.server.api.problems import MEDIA_TYPE, PROBLEMS
from authsvc.server.logs import new_request_id

__all__ = ["LATER", "RETRY_AFTER", "refusal_of"]

LATER = "More is asked for than can be answered in time; try again in a second."
RETRY_AFTER = "1"

_PROBLEM = PROBLEMS[Overloaded]
_PATHS = ("/v1/credentials", "/v1/credentials/renew")
_BEGINNING = b"POST /v1/credentials"
_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\ncontent-length: (\d{1,6})\r\n")
_REFUSED = metrics.REFUSED.labels(_PROBLEM.slug)


def _answer(path: str) -> tuple[bytes, bytes]:
    content = jose.dumps(
        {
            "type": f"urn:authsvc:problem:{_PROBLEM.slug}",
            "title": _PROBLEM.title,
            "status": _PROBLEM.status,
            "detail": LATER,
            "instance": path,
        }
    )
    head = (
        f"HTTP/1.1 503 Service Unavailable\r\ncontent-type: {MEDIA_TYPE}\r\n"
        f"content-length: {len(content)}\r\nretry-after: {RETRY_AFTER}\r\n"
        "cache-control: no-store\r\nreferrer-policy: no-referrer\r\n"
        "x-content-type-options: nosniff\r\nx-request-id: "
    )
    return head.encode(), content


_ANSWERS = {
    f"POST {path} HTTP/1.1\r\n".encode(): (
        *_answer(path),
        metrics.REQUESTS.labels("POST", path, 503),
    )
    for path in _PATHS
}


def refusal_of(data: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The refusal of a request, after which its connection can go on.

    Args:
        data: What a connection brought while nothing was under way on it.
        headers: What every answer has, such as ``Date``.

    Returns:
        None where it is no login or renewal, or not one whole request and no more: then it is to be
        read as ever.
    """
    if not data.startswith(_BEGINNING):
        return None
    found = _ANSWERS.get(data[: data.find(b"\n") + 1])
    end = data.find(_END)
    if found is None or end < 0:
        return None
    head = data[: end + 2].lower()
    # Whoever stands in front may see another end of such a request than we would.
    if b"transfer-encoding" in head or b"connection" in head or b"expect" in head:
        return None
    lengths = _LENGTH.findall(head)
    if len(lengths) != 1 or head.count(b"content-length") != 1:
        return None
    if len(data) != end + len(_END) + int(lengths[0]):
        return None
    beginning, content, counted = found
    counted.inc()
    _REFUSED.inc()
    usual = b"".join(b"%b: %b\r\n" % header for header in headers)
    return b"%b%b\r\n%b\r\n%b" % (beginning, new_request_id(), usual, content)
