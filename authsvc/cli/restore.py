"""``authsvc restore``: a service from its backup."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from authsvc.cli import loop
from authsvc.cli.context import AsJson
from authsvc.cli.passphrase import PassphraseFile, read_identities, read_passphrase
from authsvc.cli.show import visible
from authsvc.errors import InvalidBackup

if TYPE_CHECKING:
    from authsvc.server.backup import Head, Options, Restored
    from authsvc.server.backup.stanzas import Opener
    from authsvc.server.settings import Settings

__all__ = ["restore"]


def restore(
    *,
    file: Annotated[Path, typer.Argument(help="The backup.")],
    data_dir: Annotated[
        Path | None, typer.Option(help="Where keys and database will be; it must be empty.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    identity_file: Annotated[
        Path | None, typer.Option(help="A file with a private key, AGE-SECRET-KEY-1...")
    ] = None,
    merge_from: Annotated[
        list[str] | None,
        typer.Option(help="A nats-server that must be asked what was revoked since, nats://..."),
    ] = None,
    ask: Annotated[
        bool, typer.Option(help="Whether the nats-servers of the settings are asked, if they are.")
    ] = True,
    mailboxes: Annotated[
        bool,
        typer.Option("--mailboxes", help="Only post what waited again, to the service that runs."),
    ] = False,
    force: Annotated[
        bool, typer.Option(help="Set aside what is there; in PostgreSQL, remove it.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only read it to its end, and say what is in it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring a service back from its backup: all of it, or nothing.

    Example: authsvc restore tonight.age --data-dir /var/lib/authsvc
    """
    from authsvc.server.backup import Options  # noqa: PLC0415
    from authsvc.server.settings import load  # noqa: PLC0415

    with _open(file) as opened:
        openers = _openers(opened, passphrase_file, identity_file)
        if dry_run:
            _show(_read(opened, openers), as_json=as_json)
            return
        if mailboxes:
            _show_posted(*loop.run(_post(data_dir, opened, openers)), as_json=as_json)
            return
        settings = load(**({"data_dir": data_dir} if data_dir else {}))
        options = Options(force=force, merge_from=merge_from or (), ask=ask)
        restored = loop.run(_restore(opened, openers, settings, options))
    if as_json:
        print(json.dumps(_told(restored)))
    else:
        _print(restored, settings)


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise InvalidBackup(f"{path} can't be read: {error.strerror}") from None


def _openers(
    file: BinaryIO, passphrase_file: Path | None, identity_file: Path | None
) -> Sequence[Opener]:
    from authsvc.server.backup import is_for_passphrase  # noqa: PLC0415

    if is_for_passphrase(file):
        return [read_passphrase(passphrase_file, new=False)]
    if identity_file is None:
        raise InvalidBackup(
            "this backup is for the holder of a key: give the file with it by --identity-file"
        )
    return read_identities(identity_file)


async def _restore(
    file: BinaryIO, openers: Sequence[Opener], settings: Settings, options: Options
) -> Restored:
    from authsvc.server.backup import restore as bring_back  # noqa: PLC0415

    return await bring_back(file, openers, settings, options, now=time.time())


async def _post(
    data_dir: Path | None, file: BinaryIO, openers: Sequence[Opener]
) -> tuple[int, int]:
    from authsvc.cli.store import nats_urls, open_local  # noqa: PLC0415
    from authsvc.server.backup import Reader, open_mail_archive, post  # noqa: PLC0415
    from authsvc.server.tls import trusting  # noqa: PLC0415

    _read(file, openers)  # to its end, before anything is posted
    file.seek(0)
    reader = Reader(file, openers)
    for _ in reader.rows():
        pass
    async with open_local(data_dir) as store:
        urls = nats_urls(store.settings)
        trust = trusting(store.settings.nats_ca)
        async with open_mail_archive(store.database, store.keystore, urls, trust) as mail:
            return await post(mail, reader.messages())


def _show_posted(stored: int, refused: int, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"stored": stored, "refused": refused}))
    else:
        print(f"{stored} messages are stored again; {refused} no stream took")


def _read(file: BinaryIO, openers: Sequence[Opener]) -> Head:
    from authsvc.server.backup import Reader  # noqa: PLC0415

    reader = Reader(file, openers)
    for _ in reader.rows():
        pass
    reader.finish()
    return reader.head


def _summary(head: Head) -> dict[str, Any]:
    return {
        "id": head.id,
        "made_at": head.made_at,
        "authsvc": head.authsvc,
        "revision": head.revision,
        "database": head.database,
        "operator": head.operator,
        "master_key": head.master_keys > 0,
        "rows": {name: table.rows for name, table in head.tables.items()},
    }


def _show(head: Head, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_summary(head)))
        return
    print(f"a whole backup of {_moment(head.made_at)} by authsvc {visible(head.authsvc)}")
    print(f"  operator   {head.operator}")
    print(f"  schema     {head.revision}, from {visible(head.database)}")
    for name, table in head.tables.items():
        print(f"  {table.rows:10} {name}")


def _told(restored: Restored) -> dict[str, Any]:
    return _summary(restored.head) | {
        "asked": list(restored.asked),
        "unasked": restored.unasked,
        "merged": [
            {
                "account": it.account,
                "issued_at": it.issued_at,
                "revocations": it.revocations,
                "credentials": list(it.credentials),
                "unknown_keys": it.unknown_keys,
                "retired": list(it.retired),
                "made": list(it.made),
            }
            for it in restored.merged
        ],
        "aside": [str(path) for path in restored.aside],
    }


def _print(restored: Restored, settings: Settings) -> None:
    head = restored.head
    count = sum(table.rows for table in head.tables.values())
    print(f"restored {count} rows of {_moment(head.made_at)} to {visible(str(settings.data_dir))}")
    print(f"  operator   {head.operator}")
    for path in restored.aside:
        print(f"  set aside  {visible(str(path))}")
    for it in restored.merged:
        print(
            f"  merged     {visible(it.account)}: {it.revocations} revocations, "
            f"{len(it.credentials)} credentials and {it.unknown_keys} other nkeys are dead, "
            f"{len(it.retired)} signing keys retired"
        )
    if restored.asked:
        print(f"  asked      {visible(', '.join(restored.asked))}")
    elif restored.unasked:
        print(f"  NOT ASKED  {visible(restored.unasked)}")
    else:
        print("  NOT ASKED  no nats-server was named; the service asks those it finds at its start")
    for name in head.secrets_set:
        print(f"  set again  AUTHSVC_{name.upper()}: it is a secret, and not in the backup")
    if head.settings:
        print("  settings   those of then are in restored.env, which nothing reads by itself")
    print("  next       authsvc audit verify, then start the service")


def _moment(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
