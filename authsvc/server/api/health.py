"""What is asked without authorization: discovery, health, metrics."""

from __future__ import annotations

import asyncio
import errno
import resource
import time
from pathlib import Path
from typing import Any

import structlog
from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from authsvc import __version__, jose
from authsvc.errors import AuthsvcError, KeyUnavailable, StoreUnavailable
from authsvc.server import metrics
from authsvc.server.api.deps import RunningDep, refusals
from authsvc.server.api.problems import MEDIA_TYPE
from authsvc.server.api.schemas import Discovery
from authsvc.server.login import EnrolmentLogin
from authsvc.server.running import Running

__all__ = ["router"]

router = APIRouter(tags=["health"])

_READY_SECONDS = 3.0
_SPARE_DESCRIPTORS = 16
log = structlog.get_logger("authsvc")


@router.get("/.well-known/authsvc", response_model=None, responses={200: {"model": Discovery}})
async def discovery(service: RunningDep) -> Response:
    """Who runs here, and how to log in."""
    answer: dict[str, Any] = {
        "version": __version__,
        "public_url": service.public_url,
        "operator": service.material.operator,
        "account": service.material.people,
        "servers": service.servers,
        "login_methods": [
            method.describe()
            for method in service.methods.values()
            if not isinstance(method, EnrolmentLogin) or await _offered(method)
        ],
    }
    if service.door is not None:
        answer["callout"] = {
            "sentinel": service.door.sentinel,
            "creds": service.door.sentinel_creds,
        }
    headers = {"Access-Control-Allow-Origin": "*", "Cache-Control": "public, max-age=60"}
    return Response(jose.dumps(answer), headers=headers, media_type="application/json")


async def _offered(method: EnrolmentLogin) -> bool:
    try:
        return await method.offered(time.time())
    except StoreUnavailable:
        return False  # who can't read the keys can't take one


@router.get("/healthz", response_model=None)
async def healthz() -> Response:
    """The process lives."""
    return Response(b'{"status":"ok"}', media_type="application/json")


@router.get("/readyz", response_model=None, responses=refusals(503))
async def readyz(service: RunningDep) -> Response:
    """Whether credentials can be issued and changes reach nats-server; 503 with the reasons."""
    more = [(name, fault() or "") for name, fault in service.faults.items()]
    found = [await _store(service), _nats(service), _descriptors(), *more]
    reasons = {name: reason for name, reason in found if reason}
    if not reasons:
        return Response(b'{"status":"ready"}', media_type="application/json")
    answer = {
        "type": "urn:authsvc:problem:not-ready",
        "title": "Not ready",
        "status": 503,
        "detail": "; ".join(f"{name}: {reason}" for name, reason in reasons.items()),
        "instance": "/readyz",
        "reasons": reasons,
    }
    return Response(jose.dumps(answer), 503, {"Retry-After": "2"}, media_type=MEDIA_TYPE)


@router.get("/metrics", response_model=None, include_in_schema=False)
async def prometheus(service: RunningDep) -> Response:
    """Prometheus metrics."""
    _note_servers(service)
    open_, in_use, size = service.database.connections()
    metrics.CONNECTIONS.labels("in_use").set(in_use)
    metrics.CONNECTIONS.labels("idle").set(open_ - in_use)
    metrics.POOL_SIZE.set(size)
    return Response(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _note_servers(service: Running) -> None:
    """What is known of nats-servers at this moment."""
    reconciler = service.reconciler
    states = reconciler.current.get(service.material.people_id)
    metrics.BEHIND.set(sum(not held.applied for held in states.servers) if states else 0)
    known = reconciler.resolver.known() if reconciler.resolver else []
    metrics.SERVERS.set(len(known))
    metrics.NATS.servers = reconciler.resolver.statistics() if reconciler.resolver else {}
    metrics.CONNECTED.labels("system").set(reconciler.connected)
    metrics.CONNECTED.labels("provisioner").set(service.mail.reconciler.connected)
    if "callout" in service.faults:
        metrics.CONNECTED.labels("callout").set(service.faults["callout"]() is None)


async def _store(service: Running) -> tuple[str, str]:
    try:
        async with asyncio.timeout(_READY_SECONDS), service.database.writing() as session:
            await service.database.check_writable(session)
            await service.signing.read(session)
    except TimeoutError:
        return "database", "it does not answer in time"
    except KeyUnavailable as error:
        return "keys", str(error)
    except AuthsvcError as error:
        return "database", str(error)
    return "database", ""


def _descriptors() -> tuple[str, str]:
    """Whether connections can still be taken; what is left over goes to the database and NATS."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        used = len(list(Path("/proc/self/fd").iterdir()))
    except OSError as error:
        used = most if error.errno in {errno.EMFILE, errno.ENFILE} else 0
    if used < most - _SPARE_DESCRIPTORS:
        return "descriptors", ""
    log.warning("file descriptors run out", used=used, most=most)
    return "descriptors", f"{used} of {most} file descriptors are used; raise LimitNOFILE"


def _nats(service: Running) -> tuple[str, str]:
    found = service.reconciler.current.get(service.material.people_id)
    # A server that ended is missed at once; the rounds count it for a while. While others answer
    # it keeps nobody from working.
    awake = service.reconciler.awake
    if not service.reconciler.connected or found is None or not awake:
        return "nats", "no nats-server answers"
    behind = [held.name for held in found.servers if not held.applied and held.id in awake]
    if behind:
        return "nats", f"without the newest account JWT: {', '.join(behind)}"
    return "nats", ""
