"""What systemd is told by services of ``Type=notify``.

Source: sd_notify(3).
"""

from __future__ import annotations

import contextlib
import os
import socket

__all__ = ["tell"]


def tell(state: str) -> None:
    """Tell the service manager, if one asked for it; nothing happens where it can't be told.

    Args:
        state: Such as ``READY=1``.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    # "@" stands for the null byte that begins an abstract address.
    place = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, contextlib.suppress(OSError):
        sender.sendto(state.encode("utf-8"), place)
