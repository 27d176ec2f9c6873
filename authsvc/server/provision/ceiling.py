"""How large an account JWT may grow, and when to speak of it. Pure.

nats-server's own library and ours take no JWT above 1 MiB. Of an account's parts only its
revocations grow, about 94 bytes each; the rest fits the reserve.
"""

from __future__ import annotations

from authsvc.claims import MAX_JWT_BYTES

__all__ = ["CEILING_BYTES", "MOST_REVOCATIONS", "warning_for"]

CEILING_BYTES = MAX_JWT_BYTES
_ENTRY_BYTES = 94
"""A key of 56 characters in quotes, a colon, ten digits and a comma, in base64."""
_RESERVE_BYTES = 48 * 1024
MOST_REVOCATIONS = (CEILING_BYTES - _RESERVE_BYTES) // _ENTRY_BYTES
_STEPS = (80, 50)


def warning_for(size: int, before: int = 0) -> str | None:
    """What to say of an account JWT of this size, if anything.

    Args:
        size: Its bytes.
        before: The bytes of the one before: only a step that this one had not reached is told.
    """
    for step in _STEPS:
        if size >= CEILING_BYTES * step // 100:
            if before >= CEILING_BYTES * step // 100:
                return None
            return (
                f"the account JWT has {size} bytes, over {step} % of the {CEILING_BYTES} that "
                "nats-server takes; shorter credential lives let revocations be forgotten sooner"
            )
    return None
