"""``authsvc key``: signing keys through the API; private keys and master key in the store."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from authsvc.cli import loop
from authsvc.cli.asking import DryRun, Yes, confirm
from authsvc.cli.context import AsJson, ContextDir, admin_api
from authsvc.cli.show import print_propagation
from authsvc.errors import ApiError, Forbidden, InvalidKey, StartRefused

__all__ = ["app"]

app = typer.Typer(
    help="Keys: list and rotate them; take the operator's identity key out; the master key.",
    no_args_is_help=True,
)

Account = Annotated[str, typer.Option(help="people, mail, system, operator, or an account's id.")]
StoreDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where the database and the master key are."),
]
_COLUMNS = ("owner", "purpose", "account", "generation", "state", "credentials", "public_key")


class Step(StrEnum):
    """What ``rotate`` does."""

    ALL = "all"
    PREPARE = "prepare"
    ACTIVATE = "activate"


@app.command("list")
def list_keys(
    *,
    data_dir: ContextDir = None,
    retired: Annotated[bool, typer.Option(help="Those that are retired as well.")] = False,
    as_json: AsJson = False,
) -> None:
    """All keys: the operator's, the accounts', the service's own users'. Never a private one.

    Example: authsvc key list
    """
    with admin_api(data_dir) as api:
        items = [it for it in api.pages("/v1/admin/keys") if retired or it["state"] != "retired"]
    if as_json:
        print(json.dumps({"items": items}))
        return
    rows = [[_cell(item, name) for name in _COLUMNS] for item in items]
    _print_table([[name.replace("_", " ") for name in _COLUMNS], *rows])


@app.command()
def rotate(
    *,
    data_dir: ContextDir = None,
    account: Account = "people",
    step: Annotated[Step, typer.Option(help="all, or one step at a time.")] = Step.ALL,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="For scripts: nobody is cut off, so nobody asks.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """A new signing key for an account; the former one retires when nobody needs it any more.

    Nobody is cut off. With --account operator the new key signs once every nats-server was
    started with the new operator JWT, and `authsvc key retire` retires the former one.

    Exit code 1 where a step can't be taken yet, such as activate before every nats-server knows
    the key.

    Example: authsvc key rotate
    """
    del yes
    body = {"account": account, "step": step.value}
    with admin_api(data_dir) as api:
        if dry_run:
            from authsvc.cli import key_preview  # noqa: PLC0415

            would, about = key_preview.rotating(api, account, step.value)
            key_preview.say(would, about, as_json=as_json)
            return
        found = api.post("/v1/admin/keys/rotate", body)
    _say(found, as_json=as_json)


@app.command()
def retire(
    public_key: Annotated[
        str | None, typer.Argument(help="Which; the oldest that signs no more unless given.")
    ] = None,
    *,
    data_dir: ContextDir = None,
    account: Account = "people",
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Trust a key no more. Before its time that cuts people off, and needs --yes.

    Exit code 3 where people would be cut off and --yes was not given.

    Example: authsvc key retire --yes
    """
    body = {"account": account, "step": "retire", "public_key": public_key, "confirm": yes}
    with admin_api(data_dir) as api:
        if dry_run:
            from authsvc.cli import key_preview  # noqa: PLC0415

            would, about = key_preview.retiring(api, account, public_key)
            key_preview.say(would, about, as_json=as_json)
            return
        try:
            found = api.post("/v1/admin/keys/rotate", body)
        except ApiError as error:
            if error.slug != "would-cut-off":
                raise
            users = error.problem.get("users")
            named = ", ".join(users) if isinstance(users, list) and users else "nobody known"
            detail = error.problem.get("detail")
            raise Forbidden(f"{detail}\nwho: {named}\nto do it now: --yes") from None
    _say(found, as_json=as_json)


@app.command()
def export(
    name: Annotated[str, typer.Argument(help="operator, people-identity, or a public key.")],
    *,
    output: Annotated[Path, typer.Option(help="A new file; it gets mode 0600.")],
    data_dir: StoreDir = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Write a private key to a file, such as the operator's identity key, to keep it elsewhere.

    It reads the store itself, with the service's settings and master key; the service may run.

    Example: authsvc key export operator --output operator.nk --yes
    """
    from authsvc.cli import key_preview, key_store  # noqa: PLC0415

    if dry_run:
        about = key_preview.stored(data_dir, name)
        key_preview.say(f"write {about['public_key']} to {output}", about, as_json=as_json)
        return
    confirm(f"Write the private key {name} to {output}? Whoever has it is this key.", yes=yes)
    found = loop.run(key_store.export(data_dir, name, output, again=yes))
    if as_json:
        print(json.dumps({"public_key": found, "output": str(output)}))
    else:
        print(f"{found} is in {output}; next: authsvc key remove {name}")


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="operator-identity, or people-identity and so on.")],
    *,
    data_dir: StoreDir = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Forget an identity key; the service runs on without it. It must have been exported.

    With --yes even one that was never exported, which is then lost for ever.

    Example: authsvc key remove operator-identity
    """
    from authsvc.cli import key_preview, key_store  # noqa: PLC0415

    if dry_run:
        about = key_preview.stored(data_dir, name)
        kept = "was exported" if about["exported"] else "was never exported, and would be lost"
        key_preview.say(f"forget {about['public_key']}, which {kept}", about, as_json=as_json)
        return
    found = loop.run(key_store.remove(data_dir, name, anyway=yes))
    if as_json:
        print(json.dumps({"public_key": found}))
    else:
        print(f"{found} is no longer here; authsvc key import brings it back")


@app.command("import")
def import_key(
    file: Annotated[Path, typer.Argument(help="Where export wrote it; - for standard input.")],
    *,
    data_dir: StoreDir = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Take a private key back that was removed.

    Example: authsvc key import operator.nk
    """
    from authsvc.cli import key_preview, key_store  # noqa: PLC0415
    from authsvc.nkey import KeyPair  # noqa: PLC0415

    text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    try:
        pair = KeyPair.from_seed(text.strip())
    except (InvalidKey, UnicodeError):
        raise StartRefused(f"{file} holds no private key (SO..., SA...)") from None
    if dry_run:
        about = key_preview.stored(data_dir, pair.public.text)
        here = "is here already" if about["held"] else "was removed"
        key_preview.say(f"take {pair.public.text} back, which {here}", about, as_json=as_json)
        return
    found = loop.run(key_store.take_back(data_dir, pair))
    if as_json:
        print(json.dumps({"public_key": found}))
    else:
        print(f"{found} is here again")


@app.command("rotate-master")
def rotate_master(
    *,
    data_dir: StoreDir = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Seal everything by a new master key; services that run go on.

    A master key in the data directory is replaced. One from AUTHSVC_MASTER_KEY: set that to the
    new one and AUTHSVC_MASTER_KEY_PREVIOUS to the former one, on every replica, first.

    A file beside PostgreSQL needs --yes: replicas with copies of it would need the new one too.

    Example: authsvc key rotate-master --data-dir ./data
    """
    from authsvc.cli import key_preview, key_store  # noqa: PLC0415

    if dry_run:
        about = key_preview.master(data_dir)
        key_preview.say(f"change the master key in {about['master_key']}", about, as_json=as_json)
        return
    found = loop.run(key_store.rotate_master(data_dir, confirm=yes))
    if as_json:
        print(json.dumps(found))
    else:
        print(f"{found['sealed']} secrets are sealed by the new master key {found['current']}")
        print("back it up; backups of the database from before need the former one")


def _say(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found))
        return
    state = "signs now" if found["signs"] else f"is {found['state']}"
    print(f"{found['public_key']} (generation {found['generation']}) {state}")
    print_propagation(found["propagation"])
    if found["owner"] == "operator" and found["state"] != "active":
        print("next: write each nats-server's configuration anew and restart it")


def _cell(item: dict[str, Any], name: str) -> str:
    value = item[name]
    if name == "state":
        value = "signs" if item["signs"] else value
        value += "" if item["held"] or value == "retired" else ", not here"
    return "" if value is None else str(value)


def _print_table(rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
