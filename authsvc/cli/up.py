"""``authsvc up`` and ``authsvc serve``: the processes behind them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from authsvc.cli import greeting, systemd
from authsvc.cli.console import console_link
from authsvc.cli.listening import http_served, listen
from authsvc.cli.own_dir import claimed, write_context
from authsvc.cli.progress import step
from authsvc.errors import StartRefused
from authsvc.server import logs, tracing
from authsvc.server.app import create_app, open_service
from authsvc.server.provision.binary import find_nats_server
from authsvc.server.provision.config import Listen, Log, Tls, WebSocket, operator_config
from authsvc.server.provision.door import callout_option
from authsvc.server.provision.ports import Listener, choose_port
from authsvc.server.provision.supervisor import Supervisor
from authsvc.server.running import Running
from authsvc.server.settings import Settings
from authsvc.server.store import Store, open_store
from authsvc.server.tls import Certificate, pinned

__all__ = ["Options", "serve_all", "serve_api"]

_READY_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Options:
    """What ``authsvc up`` was told beside the settings."""

    nats_port: int
    ws_port: int | None
    demo: bool
    once: bool


def _stop_asked() -> asyncio.Event:
    """Set by SIGINT and SIGTERM from now on: before ready is said, as its reader may send one."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _until_stopped(stop: asyncio.Event, *tasks: asyncio.Task[None]) -> None:
    """Wait for a signal to stop, or the end of a task that should not end."""
    waiting = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({waiting, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


def _check_dev_login(settings: Settings) -> None:
    if settings.dev_login and not settings.loopback:
        raise StartRefused(
            f"dev login lets anybody be anybody, so it works on a loopback address only, not on "
            f"{settings.host}; use --host 127.0.0.1 or configure a real login method"
        )


def _certificate(settings: Settings) -> Certificate | None:
    """What the API shows; None without TLS of its own."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return Certificate(settings.tls_cert, settings.tls_key)


async def serve_api(settings: Settings) -> int:
    """``authsvc serve``: the API against an external database and nats-server."""
    logs.configure(settings.log_format)
    tracing.configure()
    _check_dev_login(settings)
    if not (settings.nats_internal_urls or settings.nats_urls):
        logging.getLogger(__name__).warning(
            "no nats-server is set, so nothing reaches one: set AUTHSVC_NATS_INTERNAL_URLS to what "
            "this service connects to, and AUTHSVC_NATS_URLS to what clients are told"
        )
    certificate = _certificate(settings)
    with listen(settings.host, settings.port) as listening:
        settings = settings.model_copy(update={"port": listening.getsockname()[1]})
        proxies = settings.trusted_proxies
        async with (
            open_service(settings) as running,
            http_served(create_app(running), listening, certificate, proxies) as http,
        ):
            stop = _stop_asked()
            print(f"ready {running.public_url}", flush=True)
            systemd.tell("READY=1")
            await _until_stopped(stop, http)
    return 0


async def serve_all(settings: Settings, options: Options) -> int:
    """``authsvc up``: everything on this machine."""
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    log_dir = settings.data_dir / "log"
    with claimed(settings.data_dir):
        logs.configure("json", file=log_dir / "authsvc.log", max_bytes=settings.log_max_bytes)
        tracing.configure()
        _check_dev_login(settings)
        certificate = _certificate(settings)
        with listen(settings.host, settings.port) as listening:
            settings = settings.model_copy(update={"port": listening.getsockname()[1]})
            if options.demo:
                from authsvc.cli import demo  # noqa: PLC0415 - it brings the library

                settings = demo.settings_for(settings)
            await _serve_here(settings, options, listening, log_dir, certificate)
    return 0


async def _serve_here(
    settings: Settings,
    options: Options,
    listening: socket.socket,
    log_dir: Path,
    certificate: Certificate | None,
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        with step("the database is opened and brought to the newest schema"):
            store = await stack.enter_async_context(open_store(settings))
        with step("nats-server starts"):
            supervisor, urls = await _start_nats(settings, options, store, log_dir)
        stack.push_async_callback(supervisor.stop)
        settings = settings.model_copy(
            update={
                "nats_urls": settings.nats_urls or _for_clients(settings, urls),
                "nats_internal_urls": urls[:1],
            }
        )
        with step("the service starts"):
            trust = pinned(settings.tls_cert) if settings.tls_cert else None
            running = await stack.enter_async_context(open_service(settings, store, trust=trust))
            supervisor.on_exit.append(lambda _status: running.reconciler.nudge())
            if certificate is not None:
                certificate.on_change.append(supervisor.reload)
            serving = http_served(
                create_app(running), listening, certificate, settings.trusted_proxies
            )
            http = await stack.enter_async_context(serving)
        await write_context(running, urls[0])
        with step("nats-server takes the accounts"):
            await _confirmed(running)
        await _greet(running, urls, log_dir, first=store.first, advise=not options.demo)
        if options.demo:
            from authsvc.cli import demo  # noqa: PLC0415 - it brings the library

            await demo.run(running.public_url, settings)
        stop = _stop_asked()
        print(f"ready {running.public_url} {urls[0]}", flush=True)
        systemd.tell("READY=1")
        if not options.once:
            if options.demo:
                demo.say_next(settings.data_dir)
            await _until_stopped(stop, http)
            print("stopping", flush=True)


async def _start_nats(
    settings: Settings, options: Options, store: Store, log_dir: Path
) -> tuple[Supervisor, list[str]]:
    binary = await asyncio.to_thread(find_nats_server, settings.nats_server)
    folder = settings.data_dir / "nats"
    folder.mkdir(mode=0o700, exist_ok=True)
    host, url_host = settings.host, f"[{settings.host}]" if ":" in settings.host else settings.host
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - the address that was asked for
        url_host = "127.0.0.1"
    port = choose_port(host, options.nats_port)
    listeners = [Listener("NATS clients", host, port, "--nats-port")]
    tls = None
    if settings.tls_cert and settings.tls_key:
        tls = Tls(str(settings.tls_cert), str(settings.tls_key))
    urls = [f"{'tls' if tls else 'nats'}://{url_host}:{port}"]
    websocket = None
    if options.ws_port is not None:
        # Without TLS of its own it is for this machine, or for a proxy on it that ends TLS.
        own = settings.loopback or tls is not None
        ws_host = host if own else "127.0.0.1"
        ws_port = choose_port(ws_host, options.ws_port)
        listeners.append(Listener("websocket clients", ws_host, ws_port, "--ws-port"))
        urls.append(f"{'wss' if tls else 'ws'}://{url_host if own else ws_host}:{ws_port}")
        websocket = WebSocket(ws_host, ws_port, tls=tls)
    text = operator_config(
        Listen(host, port, tls=tls),
        operator=store.material.operator_jwt,
        system_account=store.material.system,
        preload=await store.account_jwts(),
        server_name="authsvc-nats",
        data_dir=str(folder),
        websocket=websocket,
        max_payload=settings.max_payload,
        callout=callout_option(store.door, settings),
        log=Log(str(log_dir / "nats-server.log"), settings.log_max_bytes),
    )
    config = folder / "nats-server.conf"
    supervisor = Supervisor(
        binary.path,
        config,
        text=text,
        data_dir=folder,
        log_path=log_dir / "nats-server.log",
        listeners=listeners,
    )
    await supervisor.start()
    return supervisor, urls


def _for_clients(settings: Settings, urls: list[str]) -> list[str]:
    """What clients are told: a bind to all addresses is reached by the name of ``PUBLIC_URL``.

    So is everything with TLS: the certificate is for that name. A websocket without TLS of a bind
    to all is for a proxy on this machine, which only the setting can name.
    """
    everywhere = settings.host in {"0.0.0.0", "::"}  # noqa: S104
    if not settings.public_url or not (everywhere or settings.tls_cert):
        return urls
    name = urlsplit(settings.public_url).hostname or ""
    name = f"[{name}]" if ":" in name else name
    parts = [urlsplit(url) for url in urls]
    return [f"{part.scheme}://{name}:{part.port}" for part in parts if part.scheme != "ws"]


async def _confirmed(running: Running) -> None:
    """Ready means that nats-server has every account."""
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        found = await running.reconciler.propagate(running.material.people_id, wait=1.0)
        if found.state == "applied":
            return
    print("warning: nats-server has not confirmed its accounts yet", file=sys.stderr, flush=True)


async def _greet(
    running: Running, urls: list[str], log_dir: Path, *, first: bool, advise: bool
) -> None:
    held = await greeting.holdings(running.database)
    found = greeting.Greeting(
        url=running.public_url,
        nats_urls=urls,
        data_dir=running.settings.data_dir,
        log_dir=log_dir,
        methods=list(running.methods),
        dev_login=running.settings.dev_login,
        first=first,
        held=held,
        console=await console_link(running),
        advise=advise,
    )
    print(greeting.text(found), flush=True)
