"""The composition root: from settings to the open service and its ASGI application.

settings = load()
async with open_service(settings) as running:
    app = create_app(running)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from authsvc import __version__
from authsvc.server import roles
from authsvc.server.api import accounts as account_routes
from authsvc.server.api import (
    admin,
    apps,
    credentials,
    device,
    device_page,
    health,
    mailbox,
    me,
    problems,
    reference_page,
)
from authsvc.server.api.gate import Gate
from authsvc.server.api.middleware import Edge
from authsvc.server.api.schemas import SECURITY_SCHEMES
from authsvc.server.attempts import AttemptLimits
from authsvc.server.audit.sealer import Sealer
from authsvc.server.callout import Responder
from authsvc.server.console import ROUTES as CONSOLE_ROUTES
from authsvc.server.login import methods_from
from authsvc.server.mailroom import open_mail
from authsvc.server.models import Account
from authsvc.server.provision.attendance import Attendance
from authsvc.server.provision.closing_events import ClosingEvents
from authsvc.server.provision.publish import Stand
from authsvc.server.provision.reconcile import Reconciler
from authsvc.server.provision.resolver import Resolver
from authsvc.server.rotation import Rotation
from authsvc.server.running import Running, origins
from authsvc.server.sessions import Desk, Limits, SpentProofs
from authsvc.server.sessions.signing import SigningDesk
from authsvc.server.sessions.sizes import Caps
from authsvc.server.settings import Settings
from authsvc.server.store import Store, open_store, system_user
from authsvc.server.tending import prune, tend
from authsvc.server.tls import Trust, trusting

__all__ = ["create_app", "open_service"]

_ADMISSIONS = 10
"""How often each of a user's connections may be made anew in the life of a JWT."""


@asynccontextmanager
async def open_service(
    settings: Settings, store: Store | None = None, *, trust: Trust | None = None
) -> AsyncIterator[Running]:
    """The open service; it connects to nats-server in the background.

    Args:
        settings: With the port that is really listened on.
        store: An open one, if there is one already.
        trust: For connections to nats-server by TLS; as ``NATS_CA`` says if None.

    Raises:
        StartRefused: The settings, the schema or the master key don't allow it.
        StoreUnavailable: The database can't be reached.
    """
    trust = trust or trusting(settings.nats_ca)
    async with contextlib.AsyncExitStack() as stack:
        if store is None:
            store = await stack.enter_async_context(open_store(settings))
        internal = settings.nats_internal_urls or settings.nats_urls
        resolver, noted = await stack.enter_async_context(
            _connected(store, settings, internal, trust)
        )
        reconciler = Reconciler(store.database, store.keystore, resolver, noted=noted)
        if resolver is not None:
            resolver.on_server(lambda _server: reconciler.nudge())
        async with store.database.writing() as session:
            await roles.set_caps(
                session, Caps(settings.user_max_subscriptions, settings.max_payload)
            )
        await reconciler.start()
        stack.push_async_callback(reconciler.stop)
        public_url, known_origins = origins(settings)
        methods = methods_from(settings, store.database, public_url)
        for method in methods.values():
            stack.push_async_callback(method.close)
        material = store.material
        signing = SigningDesk(store.keystore, material.people_id, material.people)
        proofs = SpentProofs()
        await proofs.start(store.database)
        desk = Desk(store.database, signing, _limits(settings), proofs)
        stack.push_async_callback(desk.stop)
        attempts = AttemptLimits(
            store.database, failures=settings.login_failures, rate=settings.login_rate
        )
        attempts.start()
        stack.push_async_callback(attempts.stop)
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
            tend(store, rotation, reconciler, resolver), name="authsvc-tend"
        )
        stack.callback(tending.cancel)
        pruning = asyncio.create_task(
            prune(store.database, proofs, settings.credential_ttl), name="authsvc-prune"
        )
        stack.callback(pruning.cancel)
        mail = await stack.enter_async_context(open_mail(store, settings, internal, trust))
        running = Running(
            settings=settings,
            database=store.database,
            keystore=store.keystore,
            material=material,
            signing=signing,
            desk=desk,
            proofs=proofs,
            attempts=attempts,
            methods=methods,
            reconciler=reconciler,
            rotation=rotation,
            mail=mail,
            public_url=public_url,
            origins=known_origins,
            servers=list(settings.nats_urls),
            door=store.door,
        )
        if store.door is not None and internal:
            responder = Responder(running, store.door, internal, trust)
            await responder.start(2.0 if resolver and resolver.connected else 0.0)
            stack.push_async_callback(responder.stop)
            running.faults["callout"] = responder.fault
        yield running


@asynccontextmanager
async def _connected(
    store: Store,
    settings: Settings,
    urls: Sequence[str],
    trust: Trust | None,
) -> AsyncIterator[tuple[Resolver | None, Callable[[Stand], None]]]:
    """The way to nats-servers, and who must be told of account JWTs: who has to go there."""
    async with store.database.reading() as session:
        jwt, key = await system_user(session, store)
    if not urls:
        yield None, lambda _stand: None
        return
    resolver = Resolver(urls, jwt, key, tls=trust)
    most = settings.user_max_connections

    async def read() -> str:
        async with store.database.reading() as session:
            return (await session.get_one(Account, store.material.people_id)).jwt

    attendance = Attendance(
        resolver, store.material.people, most, ClosingEvents(store.database, most), read
    )
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(resolver.close)
        await resolver.connect()
        attendance.start()
        stack.push_async_callback(attendance.stop)
        yield resolver, attendance.note


def _limits(settings: Settings) -> Limits:
    return Limits(
        ttl=settings.credential_ttl,
        grace=settings.renew_grace,
        session=settings.max_session,
        subscriptions=settings.user_max_subscriptions,
        payload=settings.max_payload,
        create_users=settings.auto_create_users,
        admissions=_ADMISSIONS * settings.user_max_connections,
        failures=settings.login_failures,
    )


class _Application(FastAPI):
    """FastAPI with our edge, and with what ``security`` names in the OpenAPI document."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; FastAPI's own looks for its telemetry first, which is off here."""
        await Starlette.__call__(self, scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """FastAPI's layers, and the edge around them all."""
        return Edge(
            super().build_middleware_stack(),
            quiet=frozenset({"/healthz", "/readyz", "/metrics"}),
            posts=credentials.POSTS,
            bounds=admin.BODY_BOUNDS,
            gate=self.state.gate,
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
        # FastAPI's own pages take scripts from elsewhere, at the origin of the console.
        docs_url=None,
        redoc_url=None,
        # A redirect would name the Host that the request claims, and no proof would fit it.
        redirect_slashes=False,
        # FastAPI's own would record the text of exceptions, and looks for itself at each request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        openapi_tags=[
            {"name": "credentials", "description": "Log in, renew, list and revoke."},
            {"name": "device", "description": "Terminals that ask to be let in (RFC 8628)."},
            {"name": "me", "description": "The user who asks."},
            {"name": "apps", "description": "The apps that users offer."},
            {"name": "mailbox", "description": "Requests that wait, and dead letters."},
            {"name": "account server", "description": "For nats-server and nsc."},
            {"name": "admin", "description": "For administrators, by API key."},
            {"name": "health", "description": "Discovery and health."},
        ],
    )
    app.state.running = running
    desk = running.desk
    app.state.gate = Gate(desk.pending, desk.queued, desk.answered, desk.usual)
    problems.install(app)
    for module in (credentials, device, device_page, me, apps, mailbox, account_routes, health):
        app.include_router(module.router)
    app.include_router(reference_page.router)
    for router in admin.ROUTERS:
        app.include_router(router)
    app.router.routes.extend(CONSOLE_ROUTES)
    return app
