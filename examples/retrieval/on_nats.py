"""The same app on NATS: it listens on no port, and learns who asks."""

from app import app

from authsvc.rpc.http import serve_asgi

serve_asgi(
    app,
    "retrieval",
    "http://127.0.0.1:8080",
    token="alice@example.com",
    method="dev",
    key="alice.nk",
    on_ready=lambda: print("ready", flush=True),
)
