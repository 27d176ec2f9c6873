"""HTTP/1.1 on a connection: uvicorn's protocol, with bounds on a request's head, body and trailers.

Without them a client that never ends its headers is kept, and what it sends is kept too, before
anybody has logged in; and one whose network dies in the middle of a body is kept for ever. What is
no HTTP is answered by a problem document, like everything else.

Trailers are read and dropped: as headers, which uvicorn would take them for, they would bypass what
a proxy in front looks at. One Host is needed, so that no two readers choose different ones.

Sources: uvicorn, protocols/http/httptools_impl.py; RFC 9112 section 3.2; RFC 9110 section 6.5.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from authsvc import jose
from authsvc.server.api.gate import Gate
from authsvc.server.api.problems import MEDIA_TYPE
from authsvc.server.api.ready import WHOLE
from authsvc.server.api.refusing import refusal_of
from authsvc.server.api.writes import JoinedWrites
from authsvc.server.logs import new_request_id

__all__ = ["HEAD_SECONDS", "MAX_HEAD_BYTES", "Protocol"]

MAX_HEAD_BYTES = 64 * 1024
"""Of the request line and headers together; what one read brings may go above it once."""
HEAD_SECONDS = 10.0
"""From the connection's start, or the head's first byte, to its end."""
SILENT_SECONDS = 30.0
"""How long nothing may come of a body that has not ended."""

_SLUGS = {
    400: ("bad-request", "The request can't be understood"),
    408: ("request-timeout", "The request took too long"),
    431: ("head-too-large", "The request's headers are too large"),
}


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head_bytes = 0
        self._idle_bytes = 0
        """Of chunk extensions and trailers, since there was anything of a body."""
        self._head_timer: asyncio.TimerHandle | None = None
        self._body_timer: asyncio.TimerHandle | None = None
        self._heard_at = 0.0
        """When something of a body came last, by the loop's clock."""
        self._rest_timer: asyncio.TimerHandle | None = None
        self._rests_since = 0.0
        """When the last answer was complete, by the loop's clock."""
        self._gate: Gate | None = getattr(getattr(self.config.app, "state", None), "gate", None)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect the first head."""
        super().connection_made(JoinedWrites(transport, self.loop))
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        self._stop_timer()
        for timer in (self._body_timer, self._rest_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, or refuse at once."""
        gate = self._gate
        if gate is None or not gate.shut or not self._is_idle():
            self._read(data)
            return
        refusal = refusal_of(data, self.server_state.default_headers)
        if refusal is None:
            self._read(data)
        elif gate.lets_in():
            self._read(data)
            # Its turn comes after that of the request's task.
            self.loop.call_soon(gate.arrived)
        else:
            self._stop_timer()
            self.transport.writelines((refusal,))
            self._rest()

    def _read(self, data: bytes) -> None:
        """Read on, within the bounds."""
        if self._in_head:
            self._head_bytes += len(data)
        else:
            self._idle_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if not self._in_head:
            if self._idle_bytes > MAX_HEAD_BYTES:
                self._refuse(431, f"Trailers may have {MAX_HEAD_BYTES} bytes.")
                return
            self._heard_at = self.loop.time()
            if self._body_timer is None:
                self._body_timer = self.loop.call_later(SILENT_SECONDS, self._silent)
        elif self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(431, f"A request line and headers may have {MAX_HEAD_BYTES} bytes.")
        elif self._head_bytes and self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._late)

    def _is_idle(self) -> bool:
        """Whether what comes next is the beginning of a request, and nothing is under way."""
        cycle = self.cycle
        return not self._head_bytes and (cycle is None or bool(cycle.response_complete))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a trailer is dropped."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head = False
        self._idle_bytes = 0
        self._stop_timer()
        hosts = [name for name, _ in self.headers].count(b"host")
        if hosts != 1 and (hosts or self.parser.get_http_version() == "1.1"):
            raise httptools.HttpParserError("one Host header is needed")
        super().on_headers_complete()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        scope[WHOLE] = self._answer

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._idle_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Another head may follow."""
        super().on_message_complete()
        self._in_head = True
        self._head_bytes = 0

    def _answer(self, scope: Scope, status: int, head: bytes, body: bytes) -> bool:
        """Answer a request at once, if that can be; else the usual way is to be gone.

        Args:
            scope: The request's. Another one may have come behind it.
            status: Of the answer.
            head: Its headers, but for those that every answer has.
            body: All of it.
        """
        cycle: RequestResponseCycle = self.cycle
        if cycle.scope is not scope or cycle.response_started:
            return False
        if cycle.disconnected or self.flow.write_paused:
            return False
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        usual = b"".join([b"%b: %b\r\n" % header for header in cycle.default_headers])
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        self.transport.writelines((b"".join((STATUS_LINE[status], usual, head, end, body)),))
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        return True

    def on_response_complete(self) -> None:
        """Go on with what was asked meanwhile, or rest."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._rest()

    def _rest(self) -> None:
        """Close if nothing more comes for long: one timer for all answers, not one for each."""
        self._rests_since = self.loop.time()
        if self._rest_timer is None:
            self._rest_timer = self.loop.call_later(self.timeout_keep_alive, self._rested)

    def _rested(self) -> None:
        self._rest_timer = None
        if self.transport.is_closing() or not self._is_idle():
            return  # there will be another answer, or the head's own timer
        left = self._rests_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._rest_timer = self.loop.call_later(left, self._rested)
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(400, msg)

    def _late(self) -> None:
        self._head_timer = None
        if self._head_bytes:
            self._refuse(408, f"A request's headers have to be there in {HEAD_SECONDS:.0f} s.")
        else:
            self.transport.close()

    def _silent(self) -> None:
        """See whether the rest of a body still comes."""
        self._body_timer = None
        if self._in_head or self.transport.is_closing():
            return
        left = self._heard_at + SILENT_SECONDS - self.loop.time()
        if self.flow.read_paused:  # it is we who do not listen
            left = SILENT_SECONDS
        if left > 0:
            self._body_timer = self.loop.call_later(left, self._silent)
        elif self.cycle is not None and self.cycle.response_started:
            self.transport.close()
        else:
            self._refuse(408, f"Nothing came of the request's body for {SILENT_SECONDS:.0f} s.")

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: int, detail: str) -> None:
        slug, title = _SLUGS[status]
        content = jose.dumps(
            {
                "type": f"urn:authsvc:problem:{slug}",
                "title": title,
                "status": status,
                "detail": detail,
                "instance": "",
            }
        )
        head = (
            f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(content)}\r\n"
            f"x-request-id: {new_request_id().decode()}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(STATUS_LINE[status] + head.encode("ascii") + content)
        self.transport.close()
