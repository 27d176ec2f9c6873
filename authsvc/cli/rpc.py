"""``authsvc rpc``: call apps, answer for one, measure the way there."""

from __future__ import annotations

import typer

from authsvc.cli import rpc_bridge, rpc_call, rpc_ping, rpc_result, rpc_serve

__all__ = ["app"]

app = typer.Typer(help="Call people's apps over NATS, or answer as one.", no_args_is_help=True)
app.command("call")(rpc_call.call)
app.command("result")(rpc_result.result)
app.command("serve")(rpc_serve.serve)
app.command("ping")(rpc_ping.ping)
app.command("bridge")(rpc_bridge.bridge)
