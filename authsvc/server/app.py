"""The composition root: from settings to the open service and its ASGI application.

settings = load()
async with open_service(settings) as running:
    app = create_app(running)
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from fastapi import FastAPI
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col
from starlette.types import ASGIApp

from authsvc import __version__
from authsvc.claims import decode_user, encode
from authsvc.errors import AuthsvcError, KeyUnavailable
from authsvc.nkey import KeyPair
from authsvc.server import idempotency, roles
from authsvc.server.api import accounts as account_routes
from authsvc.server.api import admin, credentials, health, me, problems
from authsvc.server.api.middleware import Edge
from authsvc.server.api.schemas import SECURITY_SCHEMES
from authsvc.server.audit.anchor import begin as begin_audit
from authsvc.server.audit.sealing import Sealer
from authsvc.server.callout import Responder
from authsvc.server.database import Database
from authsvc.server.keystore import Keystore, is_new, open_keystore, verify_master_key
from authsvc.server.login import methods_from
from authsvc.server.models import Account, SigningKey
from authsvc.server.provision import accounts
from authsvc.server.provision.account_jwts import make_account_jwt
from authsvc.server.provision.accounts import SYSTEM_USER
from authsvc.server.provision.adopt import adopt
from authsvc.server.provision.adoption import Adoption
from authsvc.server.provision.bootstrap import Material, bootstrap
from authsvc.server.provision.door import Door, open_door
from authsvc.server.provision.reconcile import Reconciler
from authsvc.server.provision.resolver import Resolver
from authsvc.server.rotation import Rotation, read_line
from authsvc.server.running import Running, origins
from authsvc.server.sessions import Desk, Limits, forget_admissions
from authsvc.server.sessions.proofs import forget
from authsvc.server.sessions.signing import SigningDesk
from authsvc.server.sessions.sizes import Caps
from authsvc.server.settings import Settings

__all__ = ["create_app", "open_service", "open_store"]

_PRUNE_SECONDS = 60.0
_TEND_SECONDS = 1.0
_ADMISSIONS = 10
"""How often each of a user's connections may be made anew in the life of a JWT."""
_SYSTEM_USER_LIFE = 10 * 365 * 86400
log = structlog.get_logger("authsvc")


class Store:
    """The open database with the keys in it: what exists before nats-server runs."""

    def __init__(
        self,
        database: Database,
        keystore: Keystore,
        material: Material,
        door: Door | None = None,
    ) -> None:
        self.database = database
        self.keystore = keystore
        self.material = material
        self.door = door

    async def account_jwts(self) -> dict[str, str]:
        """The newest JWT of every account by its public key, made where it is missing."""
        now = int(time.time())
        async with self.database.writing() as session:
            rows = list(
                await session.scalars(select(Account).order_by(col(Account.id)).with_for_update())
            )
            for account in rows:
                if account.published_revision != account.revision:
                    await make_account_jwt(session, self.keystore, account, now)
            return {account.public_key: account.jwt for account in rows}


@asynccontextmanager
async def open_store(settings: Settings, adoption: Adoption | None = None) -> AsyncIterator[Store]:
    """Open the database, migrated, and the keystore; make the operator at the first start.

    Args:
        settings: Where they are.
        adoption: An operator to take over in place of making one.

    Raises:
        Conflict: One shall be taken over, and there is one.
        StartRefused: The settings, the schema or the master key don't allow it.
        StoreUnavailable: The database can't be reached.
    """
    database = Database(settings.database_url)
    try:
        await database.start(migrate=True)
        async with database.reading() as session:
            first = await is_new(session)
        keystore = open_keystore(settings, make=first)
        now = int(time.time())
        async with database.writing() as session:
            await verify_master_key(session, keystore, hold=True)
            await begin_audit(session, keystore, now)
            if adoption is not None:
                await adopt(
                    session, keystore, adoption, account_name=settings.account_name, now=now
                )
            material = await bootstrap(
                session,
                keystore,
                account_name=settings.account_name,
                now=now,
                callout=settings.callout,
            )
            door = await open_door(session, keystore, now) if settings.callout else None
        store = Store(database, keystore, material, door)
        await store.account_jwts()
        yield store
    finally:
        await database.stop()


async def system_user(session: AsyncSession, store: Store) -> tuple[str, KeyPair]:
    """The service's own user in the system account: its JWT and key, made anew at each start.

    Raises:
        KeyUnavailable: A key is missing.
    """
    keys: dict[str, KeyPair] = {}
    rows = await session.scalars(
        select(SigningKey)
        .where(col(SigningKey.account_id) == store.material.system_id)
        .where(col(SigningKey.state) == "active")
        .order_by(col(SigningKey.generation))
    )
    for row in rows:
        if row.purpose == "signing" or row.name == SYSTEM_USER:
            keys[row.purpose] = store.keystore.open(row.sealed_seed, row.public_key)
    if not {"signing", "login"} <= keys.keys():
        raise KeyUnavailable("the system account's signing key or user is missing")
    now = int(time.time())
    claims = accounts.system_user(
        subject=keys["login"].public.text,
        name=SYSTEM_USER,
        account=store.material.system,
        issued_at=now,
        expires=now + _SYSTEM_USER_LIFE,
    )
    return encode(claims, keys["signing"]), keys["login"]


@asynccontextmanager
async def open_service(settings: Settings, store: Store | None = None) -> AsyncIterator[Running]:
    """The open service; it connects to nats-server in the background.

    Args:
        settings: With the port that is really listened on.
        store: An open one, if there is one already.

    Raises:
        StartRefused: The settings, the schema or the master key don't allow it.
        StoreUnavailable: The database can't be reached.
    """
    async with contextlib.AsyncExitStack() as stack:
        if store is None:
            store = await stack.enter_async_context(open_store(settings))
        async with store.database.reading() as session:
            jwt, key = await system_user(session, store)
        resolver = None
        internal = settings.nats_internal_urls or settings.nats_urls
        if internal:
            resolver = Resolver(internal, jwt, key)
            await resolver.connect()
            stack.push_async_callback(resolver.close)
        reconciler = Reconciler(store.database, store.keystore, resolver)
        if resolver is not None:
            resolver.on_server(lambda _server: reconciler.nudge())
        async with store.database.writing() as session:
            await roles.set_caps(
                session, Caps(settings.user_max_subscriptions, settings.max_payload)
            )
        await reconciler.start()
        stack.push_async_callback(reconciler.stop)
        methods = methods_from(settings)
        for method in methods.values():
            stack.push_async_callback(method.close)
        material = store.material
        signing = SigningDesk(store.keystore, material.people_id, material.people)
        desk = Desk(store.database, signing, _limits(settings))
        stack.push_async_callback(desk.stop)
        sealer = Sealer(
            store.database, store.keystore, retention_days=settings.audit_retention_days
        )
        sealer.start()
        stack.push_async_callback(sealer.stop)
        rotation = Rotation(
            store.database,
            store.keystore,
            reconciler,
            life=settings.credential_ttl,
            grace=settings.renew_grace,
            servers=resolver,
        )
        tending = asyncio.create_task(
            _tend(store, rotation, reconciler, resolver), name="authsvc-tend"
        )
        stack.callback(tending.cancel)
        pruning = asyncio.create_task(_prune(store.database), name="authsvc-prune")
        stack.callback(pruning.cancel)
        public_url, known_origins = origins(settings)
        running = Running(
            settings=settings,
            database=store.database,
            keystore=store.keystore,
            material=material,
            signing=signing,
            desk=desk,
            methods=methods,
            reconciler=reconciler,
            rotation=rotation,
            public_url=public_url,
            origins=known_origins,
            servers=list(settings.nats_urls),
            door=store.door,
        )
        if store.door is not None and internal:
            responder = Responder(running, store.door, internal)
            await responder.start(2.0 if resolver and resolver.connected else 0.0)
            stack.push_async_callback(responder.stop)
            running.faults["callout"] = responder.fault
        yield running


def _limits(settings: Settings) -> Limits:
    return Limits(
        ttl=settings.credential_ttl,
        grace=settings.renew_grace,
        session=settings.max_session,
        subscriptions=settings.user_max_subscriptions,
        payload=settings.max_payload,
        create_users=settings.auto_create_users,
        admissions=_ADMISSIONS * settings.user_max_connections,
    )


async def _tend(
    store: Store, rotation: Rotation, reconciler: Reconciler, resolver: Resolver | None
) -> None:
    """Go on with rotations and scoped roles, and follow the system account's key."""
    while True:
        await asyncio.sleep(_TEND_SECONDS)
        try:
            await rotation.tend(int(time.time()))
            await roles.tend(store.database, reconciler, store.material.people_id, time.time())
            if resolver is not None:
                await _renew_system_user(store, resolver)
        except AuthsvcError as error:
            log.warning("keys not tended", error=str(error))
        except Exception as error:
            log.exception("keys not tended", error=type(error).__name__)


async def _renew_system_user(store: Store, resolver: Resolver) -> None:
    async with store.database.reading() as session:
        signer = (await read_line(session, store.material.system_id)).signer
        if signer is None or signer.public_key == decode_user(resolver.jwt).issuer:
            return
        jwt, _ = await system_user(session, store)
    log.info("the system user has a new JWT", signer=signer.public_key)
    await resolver.renew(jwt)


async def _prune(database: Database) -> None:
    """Forget proofs whose window is over, dead connections, and answers nobody will ask for."""
    while True:
        await asyncio.sleep(_PRUNE_SECONDS)
        try:
            async with database.writing() as session:
                await forget(session, time.time())
                await forget_admissions(session, time.time())
                await idempotency.forget(session, time.time())
        except AuthsvcError as error:
            log.warning("not pruned", error=str(error))


class _Application(FastAPI):
    """FastAPI with our edge, and with what ``security`` names in the OpenAPI document."""

    def build_middleware_stack(self) -> ASGIApp:
        """FastAPI's layers, and the edge around them all."""
        return Edge(
            super().build_middleware_stack(),
            quiet=frozenset({"/healthz", "/readyz", "/metrics"}),
            posts=credentials.POSTS,
            bounds=admin.BODY_BOUNDS,
        )

    def openapi(self) -> dict[str, Any]:
        """The document; made once."""
        document = super().openapi()
        document.setdefault("components", {})["securitySchemes"] = SECURITY_SCHEMES
        return document


def create_app(running: Running) -> FastAPI:
    """The ASGI application over an open service."""
    app = _Application(
        title="authsvc",
        version=__version__,
        summary="Who may talk to whom on NATS in the SyftBox network.",
        # A redirect would name the Host that the request claims, and no proof would fit it.
        redirect_slashes=False,
        # FastAPI's own would record the text of exceptions, and looks for itself at each request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        openapi_tags=[
            {"name": "credentials", "description": "Log in, renew, list and revoke."},
            {"name": "me", "description": "The user who asks."},
            {"name": "account server", "description": "For nats-server and nsc."},
            {"name": "admin", "description": "For administrators, by API key."},
            {"name": "health", "description": "Discovery and health."},
        ],
    )
    app.state.running = running
    problems.install(app)
    for module in (credentials, me, account_routes, health):
        app.include_router(module.router)
    for router in admin.ROUTERS:
        app.include_router(router)
    return app
