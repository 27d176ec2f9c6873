"""The nats-servers, as the service sees them: versions, clocks, what they hold, their room."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from authsvc.cli.doctor.finding import Finding, fail, good, warn
from authsvc.server.provision.binary import FLOOR

__all__ = ["server_findings"]

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_SKEW_WARN, _SKEW_FAIL = 5.0, 30.0
_MAILBOX_BYTES = 2 * 16 * 1024 * 1024
"""What the two streams of one more mailbox set aside, unless the settings say otherwise."""
_LITTLE_ROOM = 0.1
_NEARLY_FULL = 0.95


def server_findings(status: Mapping[str, Any]) -> list[Finding]:
    """What ``/v1/admin/nats/status`` tells."""
    if not status["connected"]:
        told = f"the service reaches no nats-server: {status['error']}"
        return [fail("nats-server", told, "start it; AUTHSVC_NATS_INTERNAL_URLS says where it is")]
    found: list[Finding] = []
    for server in status["servers"]:
        found += [_version(server), *_clock(server), *_room(server)]
    return found + _drift(status) + _sizes(status)


def _version(server: Mapping[str, Any]) -> Finding:
    name, version = server["name"], str(server["version"])
    if not server["answers"]:
        told = f"{name} is silent since {server['last_seen']}"
        return warn("nats-server", told, f"start {name}, or look at its network")
    numbers = _VERSION.match(version)
    known = tuple(map(int, numbers.groups())) if numbers else (0, 0, 0)
    if known < FLOOR[:3]:
        told = f"{name} is {version}; {FLOOR} or later is needed"
        return fail("nats-server", told, f"upgrade nats-server on {name}")
    return good("nats-server", f"{name} answers, version {version}")


def _clock(server: Mapping[str, Any]) -> list[Finding]:
    ahead = server.get("clock_ahead")
    if ahead is None or abs(ahead) <= _SKEW_WARN:
        return []
    direction = "ahead of" if ahead > 0 else "behind"
    told = f"nats-server {server['name']}: {abs(ahead):.0f} s {direction} the service"
    rank = fail if abs(ahead) > _SKEW_FAIL else warn
    return [rank("clock", told, f"sudo timedatectl set-ntp true   (on {server['name']})")]


def _room(server: Mapping[str, Any]) -> list[Finding]:
    if not server["answers"]:
        return []
    room = server.get("jetstream")
    if room is None:
        told = f"{server['name']} has no JetStream: no request can wait there"
        return [fail("jetstream", told, "authsvc nats config prints a configuration that has it")]
    most = room["max_storage"]
    free = most - max(room["used_storage"], room["reserved_storage"])
    told = f"{server['name']}: {_mib(free)} of {_mib(most)} free"
    mend = "raise max_file_store, give it a larger disk, or lower AUTHSVC_MAILBOX_MAX_BYTES"
    if free < _MAILBOX_BYTES:
        return [fail("jetstream", f"{told}: no room for one more mailbox", mend)]
    if free < most * _LITTLE_ROOM:
        return [warn("jetstream", told, mend)]
    return [good("jetstream", told)]


def _drift(status: Mapping[str, Any]) -> list[Finding]:
    found = []
    for account in status["accounts"]:
        behind = [it["name"] for it in account["propagation"]["servers"] if not it["applied"]]
        if behind or account["propagation"]["state"] != "applied":
            where = ", ".join(behind) or "any server"
            told = f"the newest JWT of {account['name']} is not on {where}"
            found.append(fail("resolver", told, "authsvc nats push"))
    for foreign in status["foreign"]:
        told = f"{', '.join(foreign['servers'])} holds the account {foreign['account']}, not ours"
        mend = "find out whose it is; its JWT file lies in the resolver's folder"
        found.append(warn("resolver", told, mend))
    return found or [good("resolver", "every server holds the newest account JWTs")]


def _sizes(status: Mapping[str, Any]) -> list[Finding]:
    found = []
    for account in status["accounts"]:
        size, limit = account["jwt_bytes"], account["jwt_bytes_limit"]
        if size > limit * _NEARLY_FULL:
            told = f"the JWT of {account['name']} has {size} of {limit} bytes"
            found.append(fail("account JWT", told, "lower AUTHSVC_CREDENTIAL_TTL and restart"))
            continue
        for warning in account["warnings"]:
            told = f"{account['name']}: {warning}"
            found.append(warn("account JWT", told, "authsvc nats status"))
    largest = max((it["jwt_bytes"] for it in status["accounts"]), default=0)
    return found or [good("account JWT", f"the largest has {largest} bytes")]


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB"
