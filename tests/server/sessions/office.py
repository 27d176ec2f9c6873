"""A desk for tests, and how to log in there."""

from __future__ import annotations

import asyncio
import copy
import secrets
import time
from collections.abc import Sequence
from typing import Any

from authsvc.dpop import Proof
from authsvc.nkey import KeyPair, Prefix, PublicKey
from authsvc.server.database import Database
from authsvc.server.keystore import Keystore
from authsvc.server.login.identity import proved
from authsvc.server.provision.bootstrap import Material
from authsvc.server.sessions import Desk, Issued, Limits, Login
from authsvc.server.sessions.proofs import SpentProofs
from authsvc.server.sessions.signing import SigningDesk

__all__ = ["LIMITS", "Office", "user_key"]

LIMITS = Limits(
    ttl=3600, grace=300, session=86400, subscriptions=1000, payload=1 << 20, create_users=True
)


class Office:
    """A desk over a database with an operator in it."""

    def __init__(self, database: Database, material: Material, keystore: Keystore) -> None:
        self.database = database
        self.signing = SigningDesk(keystore, material.people_id, material.people)
        self.proofs = SpentProofs()
        self.desk = Desk(database, self.signing, LIMITS, self.proofs)

    def replica(self) -> Office:
        """Another desk over the same database, which knows nothing of this one's proofs."""
        other = copy.copy(self)
        other.proofs = SpentProofs()
        other.desk = Desk(self.database, self.signing, LIMITS, other.proofs)
        return other

    async def everybody(self, keys: Sequence[PublicKey]) -> list[Issued]:
        """Log all of them in at once, each as a user of its own."""
        logins = [self.login(f"u{number}@x.com", key) for number, key in enumerate(keys)]
        return await asyncio.gather(*logins)

    async def login(self, name: str, key: PublicKey, **kw: Any) -> Issued:
        now = kw.pop("now", time.time())
        if "label" in kw:  # the credential's name
            kw["name"] = kw.pop("label")
        return await self.desk.order(
            Login(
                proof=kw.pop("proof", None) or Proof(key, secrets.token_hex(8), now),
                request_id="r",
                address="a",
                now=now,
                identity=proved(name, email=True, method="syftbox", expires_at=None),
                **kw,
            )
        )


def user_key() -> PublicKey:
    return KeyPair.generate(Prefix.USER).public
