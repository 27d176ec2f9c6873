"""How often somebody may try to sign in, counted over all replicas.

An address may try so often in a minute, and fail so often as one identity in a quarter of an hour.
Failures are counted by identity and address together: whoever fails as somebody else shuts out
nobody but who comes from the same address. Addresses of IPv6 count by their /64, which is one
customer's; loopback addresses don't count at all.
"""

from authsvc.server.attempts.counting import Count, forget_attempts, read_failed, succeeded
from authsvc.server.attempts.limits import Attempt, AttemptLimits, refusal
from authsvc.server.attempts.networks import network

__all__ = [
    "Attempt",
    "AttemptLimits",
    "Count",
    "forget_attempts",
    "network",
    "read_failed",
    "refusal",
    "succeeded",
]
