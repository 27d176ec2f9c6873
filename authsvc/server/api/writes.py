"""An answer's head and body in one write, where uvicorn makes two.

Each write is a system call that wakes whoever reads, and most answers of this service are shorter
than a packet: two writes of one answer cost as much as a third of a signature.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

__all__ = ["JoinedWrites"]


class JoinedWrites(asyncio.Transport):
    """A transport that holds the first of two writes back, until the second or the next turn.

    Args:
        transport: The connection's own.
        loop: Its event loop.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._held: bytes | None = None
        self.is_closing = transport.is_closing  # type: ignore[method-assign]

    def write(self, data: Any) -> None:
        """Write, with what was held if anything was."""
        held = self._held
        if held is None:
            self._held = data
            self._loop.call_soon(self._flush)
        else:
            self._held = None
            self._transport.writelines((held, data))

    def writelines(self, parts: Iterable[Any]) -> None:
        """Write at once, after what was held."""
        self._flush()
        self._transport.writelines(parts)

    def _flush(self) -> None:
        held, self._held = self._held, None
        # The connection may have ended meanwhile, and uvloop's transports take nothing then.
        if held is not None and not self.is_closing():
            self._transport.write(held)

    def close(self) -> None:
        """Close, after all was written."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._held = None
        self._transport.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the connection's own transport knows."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Read nothing for now."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._transport.resume_reading()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Have another protocol on the connection."""
        self._transport.set_protocol(protocol)
