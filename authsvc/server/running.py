"""The service while it runs: everything that routes, callout and command line reach.

Built by ``app.open_service`` from settings and handed down; nothing here is global.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from authsvc.dpop import target
from authsvc.server.attempts import AttemptLimits
from authsvc.server.database import Database
from authsvc.server.keystore import Keystore
from authsvc.server.login import LoginMethod
from authsvc.server.mailroom import Mail
from authsvc.server.provision.bootstrap import Material
from authsvc.server.provision.door import Door
from authsvc.server.provision.reconcile import Reconciler
from authsvc.server.rotation import Rotation
from authsvc.server.sessions import Desk, SpentProofs
from authsvc.server.sessions.signing import SigningDesk
from authsvc.server.settings import Settings

__all__ = ["Running", "origins"]

_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, slots=True)
class Running:
    """The open service.

    Args:
        settings: As they were read, with the port that is really listened on.
        database: Open and migrated.
        keystore: Opens sealed seeds.
        material: The operator and the accounts.
        signing: The people's account's signing keys.
        desk: Issues credentials.
        proofs: The proofs that were used.
        attempts: How often somebody may try to sign in.
        methods: Login methods by name, the first one is the default.
        reconciler: Makes nats-server hold what the database says.
        rotation: Rotates the accounts' signing keys.
        mail: Requests that wait.
        public_url: How clients reach the service.
        origins: Every origin that a DPoP proof may name.
        servers: What clients are told to connect to.
        door: What auth callout needs, where it is on.
        faults: By name, what else must hold for the service to be ready: each says why it
            doesn't, or None.
        handling: The Idempotency-Keys of POSTs that are being handled, as digests.
    """

    settings: Settings
    database: Database
    keystore: Keystore
    material: Material
    signing: SigningDesk
    desk: Desk
    proofs: SpentProofs
    attempts: AttemptLimits
    methods: Mapping[str, LoginMethod]
    reconciler: Reconciler
    rotation: Rotation
    mail: Mail
    public_url: str
    origins: tuple[str, ...]
    servers: list[str]
    door: Door | None = None
    faults: dict[str, Callable[[], str | None]] = field(default_factory=dict)
    handling: set[bytes] = field(default_factory=set)


def origins(settings: Settings) -> tuple[str, tuple[str, ...]]:
    """The public URL, and every origin that a DPoP proof may name.

    On a loopback bind its three usual names count as well; the Host header never does, because
    whoever calls writes it.
    """
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    own = f"{settings.scheme}://{host}:{settings.port}"
    public = settings.public_url or own
    found = [public, *settings.extra_origins]
    if settings.loopback:
        found += [own, *(f"{settings.scheme}://{name}:{settings.port}" for name in _LOOPBACK_NAMES)]
    return public, tuple(dict.fromkeys(dpop_origin(origin) for origin in found))


def dpop_origin(url: str) -> str:
    """An origin, or a URL with a path prefix, in the spelling that proofs are compared in."""
    return target(url).rstrip("/")
