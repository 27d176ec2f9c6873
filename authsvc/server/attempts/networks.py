"""What counts as one address."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

__all__ = ["network"]

_MAX_CHARS = 64


@lru_cache(maxsize=8192)
def network(address: str) -> str | None:
    """Under what an address is counted; None for loopback, which isn't.

    Args:
        address: Of the client, as the connection or a trusted proxy tells it.
    """
    host = address.strip()
    if host.startswith("["):  # some proxies write [::1]:4711
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return address[:_MAX_CHARS]  # a proxy's word such as "unknown": one for all of those
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is None:
            return (
                None if found.is_loopback else str(ipaddress.ip_network((found, 64), strict=False))
            )
        found = found.ipv4_mapped
    return None if found.is_loopback else str(found)
