"""``authsvc nats adopt``: take over the operator and the accounts of a NATS that runs already."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from authsvc.cli import loop
from authsvc.cli.context import AsJson
from authsvc.cli.show import visible
from authsvc.errors import Conflict, Forbidden, StartRefused

if TYPE_CHECKING:
    from authsvc.server.provision.adoption import Adoption
    from authsvc.server.provision.nsc_store import Given
    from authsvc.server.settings import Settings

__all__ = ["adopt"]

_NSC_KEYS = Path("~/.local/share/nats/nsc/keys")


def adopt(
    store: Annotated[
        Path | None,
        typer.Argument(help="The operator's folder of an nsc store, .../nsc/stores/NAME."),
    ] = None,
    *,
    keys: Annotated[
        Path | None,
        typer.Option(help="nsc's keystore; NKEYS_PATH, or nsc's default, unless given."),
    ] = None,
    operator_jwt: Annotated[
        Path | None, typer.Option(help="In place of a store: the operator JWT.")
    ] = None,
    account_jwt: Annotated[
        list[Path] | None, typer.Option(help="An account JWT; again for each.")
    ] = None,
    key: Annotated[
        list[Path] | None,
        typer.Option(
            help="A private key (.nk) of the operator or the system account; again for each."
        ),
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where keys and database will be.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Only show what would be taken over.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take over a running NATS: before the first start, in place of making an operator.

    Needed: the operator's signing key, or its identity key; a signing key of the system account
    that has no scope, or its identity key. Accounts stay as they are, clients stay connected.

    Exit code 3 where the database has an operator already.

    Example: authsvc nats adopt ~/.local/share/nats/nsc/stores/acme --data-dir ./data --dry-run

    With single files: authsvc nats adopt --operator-jwt acme.jwt --account-jwt SYS.jwt
    --account-jwt orders.jwt --key operator-signing.nk --key SYS-signing.nk
    """
    from authsvc.server.provision.adoption import check  # noqa: PLC0415
    from authsvc.server.settings import load  # noqa: PLC0415

    given = _read(store, keys, operator_jwt, account_jwt or [], key or [])
    found = check(given.operator_jwt, given.account_jwts, given.find, now=int(time.time()))
    settings = load(**({"data_dir": data_dir} if data_dir else {}))
    try:
        loop.run(_look(settings) if dry_run else _adopt(settings, found))
    except Conflict as error:
        raise Forbidden(str(error)) from None
    if as_json:
        print(json.dumps(_as_json(found, dry_run=dry_run)))
    else:
        _print(found, settings, dry_run=dry_run)


def _read(
    store: Path | None,
    keys: Path | None,
    operator_jwt: Path | None,
    account_jwts: list[Path],
    single: list[Path],
) -> Given:
    from authsvc.server.provision import nsc_store  # noqa: PLC0415

    if (store is None) == (operator_jwt is None):
        raise typer.BadParameter("name an nsc store's folder, or --operator-jwt")
    if store is not None:
        if account_jwts or single:
            raise typer.BadParameter("--account-jwt and --key go with --operator-jwt")
        folder = keys or Path(os.environ.get("NKEYS_PATH") or _NSC_KEYS)
        return nsc_store.read_store(store.expanduser(), folder.expanduser())
    if keys is not None:
        raise typer.BadParameter("--keys goes with an nsc store; here it is --key")
    assert operator_jwt is not None  # noqa: S101 - one of the two is given
    return nsc_store.read_files(operator_jwt, account_jwts, single)


async def _adopt(settings: Settings, found: Adoption) -> None:
    from authsvc.server.store import open_store  # noqa: PLC0415

    async with open_store(settings, found):
        pass


async def _look(settings: Settings) -> None:
    """See that there is no operator yet; nothing is made.

    Raises:
        Conflict: There is one.
    """
    from authsvc.server.database import Database  # noqa: PLC0415
    from authsvc.server.engines import parse_url  # noqa: PLC0415
    from authsvc.server.provision.adopt import HAS_OPERATOR  # noqa: PLC0415
    from authsvc.server.provision.bootstrap import load_material  # noqa: PLC0415

    database = Database(settings.database_url)
    path = parse_url(settings.database_url).database if database.is_sqlite else None
    if path and not Path(path).exists():  # noqa: ASYNC240 - a command may look
        return
    try:
        await database.start()
        async with database.reading() as session:
            if await load_material(session) is not None:
                raise Conflict(HAS_OPERATOR)
    except StartRefused:
        # Without tables, or with those of an older version: the first start sees to it.
        return
    finally:
        await database.stop()


def _as_json(found: Adoption, *, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "operator": {
            "name": found.operator.name,
            "public_key": found.operator.subject,
            "identity_key": found.identity is not None,
            "signing_key": found.signing.public.text if found.signing else None,
        },
        "restart_needed": found.signing is None,
        "system_signing_key": found.system_signer.public.text,
        "accounts": [
            {
                "name": taken.claims.name,
                "public_key": taken.claims.subject,
                "kind": "system" if taken is found.system else "adopted",
                "jwt_bytes": len(taken.jwt),
            }
            for taken in (found.system, *found.accounts)
        ],
    }


def _print(found: Adoption, settings: Settings, *, dry_run: bool) -> None:
    told = _as_json(found, dry_run=dry_run)
    operator = told["operator"]
    print(f"operator  {visible(operator['name']):16} {operator['public_key']}")
    held = "taken over" if operator["identity_key"] else "not given, and not needed"
    print(f"          {'identity key':16} {held}")
    print(f"          {'signing key':16} {operator['signing_key'] or 'to be made'}")
    for account in told["accounts"]:
        print(f"{account['kind']:9} {visible(account['name']):16} {account['public_key']}")
    print(f"new       {settings.account_name}, MAIL")
    if dry_run:
        print("nothing was written")
    if told["restart_needed"]:
        print(
            "the operator JWT is a new one, with a signing key: write it into each nats-server's\n"
            "configuration (authsvc nats config, or GET /jwt/v1/operator) and restart them one\n"
            "after another; until then they refuse the new accounts"
        )
    elif not dry_run:
        print("nats-server's configuration stays as it is; next: authsvc serve")
