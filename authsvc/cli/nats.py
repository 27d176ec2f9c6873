"""``authsvc nats``: what nats-server needs, what it holds, a push."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from authsvc.cli import adopt, loop
from authsvc.cli.asking import DryRun
from authsvc.cli.context import AsJson, ContextDir, admin_api
from authsvc.cli.show import visible

if TYPE_CHECKING:
    from authsvc.server.provision.external import External
    from authsvc.server.settings import Settings

__all__ = ["app"]

app = typer.Typer(help="What nats-server needs, and what it holds.", no_args_is_help=True)
app.command("adopt")(adopt.adopt)
_EXIT_UNAVAILABLE = 4


@app.command("config")
def config(
    *,
    data_dir: Annotated[Path | None, typer.Option(help="Where keys and database are.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="A file; standard output unless given.")
    ] = None,
    server_name: Annotated[str, typer.Option(help="The server's name.")] = "authsvc-nats",
    listen: Annotated[str, typer.Option(help="host:port for clients.")] = "0.0.0.0:4222",
    store_dir: Annotated[str, typer.Option(help="Where nats-server keeps its files.")] = "/data",
    ws_listen: Annotated[str | None, typer.Option(help="host:port for websockets.")] = None,
    monitor: Annotated[str | None, typer.Option(help="host:port for monitoring.")] = None,
    advertise: Annotated[
        str | None, typer.Option(help="host:port told to clients instead of --listen.")
    ] = None,
    tls: Annotated[
        bool,
        typer.Option(
            "--tls",
            help="TLS for clients, websockets and routes, by /etc/nats/tls/tls.crt, tls.key and "
            "ca.crt unless the options below name others.",
        ),
    ] = False,
    tls_cert: Annotated[
        str | None, typer.Option(help="Certificate file for clients and websockets.")
    ] = None,
    tls_key: Annotated[str | None, typer.Option(help="Its key file.")] = None,
    tls_ca: Annotated[
        str | None, typer.Option(help="With --tls: who signs the servers' files, for routes.")
    ] = None,
    cluster: Annotated[str | None, typer.Option(help="The cluster's name; none: alone.")] = None,
    cluster_listen: Annotated[str, typer.Option(help="host:port for routes.")] = "0.0.0.0:6222",
    route: Annotated[
        list[str] | None,
        typer.Option(help="nats://host:port of a server's routes; again for each."),
    ] = None,
    cluster_tls_cert: Annotated[str | None, typer.Option(help="Certificate for routes.")] = None,
    cluster_tls_key: Annotated[str | None, typer.Option(help="Key file for routes.")] = None,
    cluster_tls_ca: Annotated[str | None, typer.Option(help="Who signs the routes' files.")] = None,
    private_network: Annotated[
        bool, typer.Option(help="Nobody else reaches the route ports: no TLS for them.")
    ] = False,
    no_advertise: Annotated[
        bool,
        typer.Option("--no-advertise", help="Tell clients of no other servers of the cluster."),
    ] = False,
    accounts_only: Annotated[
        bool,
        typer.Option(
            "--accounts-only", help="Operator and accounts alone, to be included elsewhere."
        ),
    ] = False,
) -> None:
    """Print the configuration that an external nats-server needs; no secret is in it.

    Example: authsvc nats config --output operator.conf

    With TLS: authsvc nats config --tls --ws-listen 0.0.0.0:443 --output operator.conf

    Three servers: authsvc nats config --server-name n1 --cluster c1 --private-network
    --route nats://n1:6222 --route nats://n2:6222 --route nats://n3:6222, and so for n2 and n3.
    """
    from authsvc.server.provision.external import External  # noqa: PLC0415
    from authsvc.server.settings import load  # noqa: PLC0415

    settings = load(**({"data_dir": data_dir} if data_dir else {}))
    external = External(
        server_name=server_name,
        listen=listen,
        store_dir=store_dir,
        ws_listen=ws_listen,
        monitor=monitor,
        advertise=advertise,
        tls=tls,
        tls_cert=tls_cert,
        tls_key=tls_key,
        tls_ca=tls_ca,
        accounts_only=accounts_only,
        cluster=cluster,
        cluster_listen=cluster_listen,
        routes=tuple(route or ()),
        cluster_tls_cert=cluster_tls_cert,
        cluster_tls_key=cluster_tls_key,
        cluster_tls_ca=cluster_tls_ca,
        private_network=private_network,
        no_advertise=no_advertise,
    )
    text = loop.run(_config_text(settings, external))
    if output is None:
        print(text, end="")
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text)


async def _config_text(settings: Settings, external: External) -> str:
    """The configuration's text; the operator is made if this is the first start."""
    from authsvc.server.provision.door import callout_option  # noqa: PLC0415
    from authsvc.server.provision.external import external_config  # noqa: PLC0415
    from authsvc.server.store import open_store  # noqa: PLC0415

    async with open_store(settings) as store:
        return external_config(
            external,
            operator=store.material.operator_jwt,
            system_account=store.material.system,
            preload=await store.account_jwts(),
            max_payload=settings.max_payload,
            callout=callout_option(store.door, settings),
        )


@app.command("status")
def status(*, data_dir: ContextDir = None, as_json: AsJson = False) -> None:
    """Which nats-servers there are, and what they hold; exits with 4 without a connection.

    Example: authsvc nats status --json
    """
    with admin_api(data_dir) as api:
        found = api.get("/v1/admin/nats/status")
    if as_json:
        print(json.dumps(found))
    else:
        _print_status(found)
    if not found["connected"]:
        raise typer.Exit(_EXIT_UNAVAILABLE)


@app.command("push")
def push(*, data_dir: ContextDir = None, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Push every account JWT to every server now; exits with 4 when one has not confirmed.

    Example: authsvc nats push
    """
    with admin_api(data_dir) as api:
        if dry_run:
            found = api.get("/v1/admin/nats/status")
            names = [str(server["name"]) for server in found["servers"]]
            accounts = [str(account["name"]) for account in found["accounts"]]
            told = {"dry_run": True, "would": "push", "accounts": accounts, "servers": names}
            text = f"would push {', '.join(accounts)} to {', '.join(names) or 'nobody'}"
            print(json.dumps(told) if as_json else visible(text))
            return
        found = api.post("/v1/admin/nats/push")
    if as_json:
        print(json.dumps(found))
    else:
        for account in found["accounts"]:
            print(f"{visible(account['name']):10} {_propagation(account['propagation'])}")
    if found["state"] != "applied":
        raise typer.Exit(_EXIT_UNAVAILABLE)


def _print_status(found: dict[str, Any]) -> None:
    if not found["connected"]:
        print(f"not connected: {found['error']}")
    for server in found["servers"]:
        answers = "answers" if server["answers"] else f"silent since {server['last_seen']}"
        print(f"server   {server['name']:16} {server['version']:8} {answers}")
    for account in found["accounts"]:
        size, limit = account["jwt_bytes"], account["jwt_bytes_limit"]
        print(
            f"account  {visible(account['name']):16} {_propagation(account['propagation'])}; "
            f"{account['revocations']} revocations, {size} of {limit} bytes"
        )
        for warning in account["warnings"]:
            print(f"WARNING  {visible(account['name'])}: {warning}")
    for foreign in found["foreign"]:
        who = foreign["issuer"] or "unknown"
        print(f"FOREIGN  {foreign['account']} by {who} on {', '.join(foreign['servers'])}")
    print(f"drift    {found['drift']['mended']} mended, looked at {found['drift']['looked_at']}")


def _propagation(found: dict[str, Any]) -> str:
    lacking = [server["name"] for server in found["servers"] if not server["applied"]]
    return f"{found['state']}, not on {', '.join(lacking)}" if lacking else str(found["state"])
