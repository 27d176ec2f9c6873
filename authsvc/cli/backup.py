"""``authsvc backup``: a service that runs, in one encrypted file."""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from authsvc.cli import loop
from authsvc.cli.context import AsJson
from authsvc.cli.passphrase import PassphraseFile, read_passphrase, read_recipients
from authsvc.cli.show import visible
from authsvc.errors import Forbidden

if TYPE_CHECKING:
    from collections.abc import Sequence

    from authsvc.server.backup import Ending, Head
    from authsvc.server.backup.stanzas import Sealer

__all__ = ["backup"]


def backup(
    *,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where the service's keys and database are.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A new file; - is standard output. Named by the time."),
    ] = None,
    passphrase_file: PassphraseFile = None,
    recipient: Annotated[
        list[str] | None,
        typer.Option(help="A public key, age1..., whose holder can open it; no passphrase then."),
    ] = None,
    recipients_file: Annotated[
        Path | None, typer.Option(help="A file with such keys, one a line.")
    ] = None,
    master_key: Annotated[
        bool, typer.Option(help="Whether the master key goes along; without it keep it yourself.")
    ] = True,
    mailboxes: Annotated[
        bool, typer.Option("--mailboxes", help="Take along what waits in JetStream.")
    ] = False,
    force: Annotated[bool, typer.Option(help="Replace the file if it is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write everything that a service is into one encrypted file, while it runs.

    Example: authsvc backup --output tonight.age --passphrase-file /run/secrets/backup
    """
    sealers: Sequence[Sealer]
    sealers = read_recipients(recipient or [], recipients_file)
    sealers = sealers or [read_passphrase(passphrase_file, new=True)]
    path = output or Path(time.strftime("authsvc-%Y%m%dT%H%M%SZ.age", time.gmtime()))
    if str(path) == "-":
        if sys.stdout.isatty():
            raise typer.BadParameter("an encrypted file is nothing for a terminal: --output FILE")
        loop.run(
            _write(data_dir, sys.stdout.buffer, sealers, master_key=master_key, mailboxes=mailboxes)
        )
        return
    with _new_file(path, force=force) as file:
        head, ending = loop.run(
            _write(data_dir, file, sealers, master_key=master_key, mailboxes=mailboxes)
        )
    size = path.stat().st_size
    if as_json:
        found = {"file": str(path), "bytes": size, **_told(head, ending)}
        print(json.dumps(found))
    else:
        _print(path, size, head, ending)


async def _write(
    data_dir: Path | None,
    file: BinaryIO,
    sealers: Sequence[Sealer],
    *,
    master_key: bool,
    mailboxes: bool,
) -> tuple[Head, Ending]:
    from authsvc.cli.store import find_store, nats_urls  # noqa: PLC0415
    from authsvc.server.backup import open_mail_archive, waiting, write_backup  # noqa: PLC0415
    from authsvc.server.tls import trusting  # noqa: PLC0415

    store = find_store(data_dir)
    try:
        async with AsyncExitStack() as stack:
            messages = None
            if mailboxes:
                urls = nats_urls(store.settings)
                trust = trusting(store.settings.nats_ca)
                mail = open_mail_archive(store.database, store.keystore, urls, trust)
                messages = waiting(await stack.enter_async_context(mail))
            return await write_backup(
                store.database,
                store.settings,
                file,
                sealers,
                now=time.time(),
                master_key=master_key,
                messages=messages,
            )
    finally:
        await store.database.stop()


@contextmanager
def _new_file(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """A file, mode 0600, that is at its place when it is whole, and never before.

    Raises:
        Forbidden: It is there already.
        OSError: It can't be written.
    """
    from authsvc.server.private import sync_folder  # noqa: PLC0415 - commands start quickly

    if path.exists() and not force:
        raise Forbidden(f"{path} is there already; name another file, or say --force")
    staged = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
        sync_folder(path.parent)
    finally:
        staged.unlink(missing_ok=True)


def _told(head: Head, ending: Ending) -> dict[str, object]:
    return {
        "id": head.id,
        "made_at": head.made_at,
        "revision": head.revision,
        "database": head.database,
        "operator": head.operator,
        "master_key": head.master_keys > 0,
        "rows": {name: table.rows for name, table in head.tables.items()},
        "messages": ending.messages,
        "sha256": ending.sha256,
    }


def _print(path: Path, size: int, head: Head, ending: Ending) -> None:
    rows = {name: table.rows for name, table in head.tables.items()}
    print(f"{visible(str(path))}: {size} bytes, {sum(rows.values())} rows")
    print(f"  operator   {head.operator}")
    for name in ("users", "credentials", "audit_events"):
        print(f"  {name.replace('_', ' '):10} {rows.get(name, 0)}")
    if head.mailboxes:
        print(f"  messages   {ending.messages}")
    if head.master_keys:
        print("  it holds the master key: who opens it has every private key of this service")
    else:
        print("  the master key is not in it: without it nothing can be restored")
