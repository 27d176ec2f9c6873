"""Backup and restore: a whole service in one encrypted file, and back.

    head, ending = await write_backup(database, settings, file, [Passphrase(text)], now=now)
    restored = await restore(file, [Passphrase(text)], settings, options, now=now)

The file is age's (``envelope``), in it gzip, in it a line of JSON for each row (``lines``): no
archive, so nothing in it is ever a path. Rows are spelt the same for SQLite and PostgreSQL.
"""

from authsvc.server.backup.envelope import is_for_passphrase
from authsvc.server.backup.export import write_backup
from authsvc.server.backup.manifest import Ending, Head
from authsvc.server.backup.messages import open_mail_archive, post, waiting
from authsvc.server.backup.reading import Reader
from authsvc.server.backup.restoring import Options, Restored, restore
from authsvc.server.backup.stanzas import Identity, Passphrase, Recipient

__all__ = [
    "Ending",
    "Head",
    "Identity",
    "Options",
    "Passphrase",
    "Reader",
    "Recipient",
    "Restored",
    "is_for_passphrase",
    "open_mail_archive",
    "post",
    "restore",
    "waiting",
    "write_backup",
]
