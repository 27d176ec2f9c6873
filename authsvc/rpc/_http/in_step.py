"""Whether a connection to an HTTP server may carry the next request.

A server that answers twice, because somebody made it split its answer, would have the second one
taken for the answer to the next request, which is somebody else's. httpcore looks whether an idle
connection has something to read, but not at what it has read already.

Source: RFC 9112 section 9.2: what comes without a request is no answer, and ends the connection.
"""

from __future__ import annotations

from typing import Any

import httpx

__all__ = ["keep_in_step"]

_PATH = ("_httpcore_stream", "_stream", "_connection", "_h11_state")
"""From a response's stream to the state of its connection: names of httpx 0.28 and httpcore 1."""


def keep_in_step(response: httpx.Response) -> bool:
    """See that a connection on which more came than one answer is closed with the response.

    Args:
        response: Read to its end, and not closed yet.

    Returns:
        Whether it can be told; if not, no connection may be used twice.
    """
    state: Any = response.stream
    for name in _PATH:
        state = getattr(state, name, None)
    if state is None:
        return False
    if state.trailing_data[0]:
        state.send_failed()  # h11's word for: to be used no more
    return True
