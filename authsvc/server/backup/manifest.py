"""What the first and the last line of a backup say."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from authsvc.errors import InvalidBackup
from authsvc.server.backup.tables import Kind

__all__ = ["VERSION", "Ending", "Head", "TableHead", "read_ending", "read_head"]

VERSION: Literal[1] = 1
_NAME = r"^[a-z][a-z0-9_]{0,62}$"
Name = Annotated[str, Field(pattern=_NAME)]
Count = Annotated[int, Field(ge=0, le=1 << 62)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class TableHead(BaseModel):
    """A table's columns, and how many rows there are of it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    columns: dict[Name, Kind]
    rows: Count


class Head(BaseModel):
    """The first line: what the backup is of, and what is in it."""

    model_config = ConfigDict(strict=True, frozen=True)

    format: Literal["authsvc backup"] = "authsvc backup"
    version: Literal[1] = VERSION
    id: str
    made_at: Count
    """Seconds since the epoch."""
    authsvc: str
    """The version that made it."""
    revision: Annotated[str, Field(pattern=r"^[0-9A-Za-z_]{1,32}$")]
    """Of the schema."""
    database: str
    """The kind that it was made from; it can go into the other one."""
    operator: str | None
    """Public key."""
    master_keys: int
    """How many are in it; 0 where they were left out."""
    tables: dict[Name, TableHead]
    """In the order in which they follow."""
    mailboxes: bool = False
    """Whether messages that waited in JetStream follow."""
    settings: dict[str, Any] = {}
    """What was set when it was made, without secrets."""
    secrets_set: list[str] = []
    """Names of secret settings that were set and are not in it."""


class Ending(BaseModel):
    """The last line: what was written, to be compared with what was read."""

    model_config = ConfigDict(strict=True, frozen=True)

    sha256: Digest
    """Of all lines before this one."""
    digests: dict[Name, Digest]
    """Of each table's rows."""
    messages: Count = 0
    """Of mailboxes."""


def read_head(value: Any) -> Head:
    """The first line's values.

    Raises:
        InvalidBackup: It is none, or of a version that this program does not know.
    """
    found = value.get("head") if isinstance(value, dict) else None
    if not isinstance(found, dict) or found.get("format") != "authsvc backup":
        raise InvalidBackup("this file was encrypted by something else: it is no backup of authsvc")
    if found.get("version") != VERSION:
        raise InvalidBackup(
            "this backup is of a form that this authsvc does not know: restore it with the "
            "version that made it, or a newer one"
        )
    try:
        return Head.model_validate(found)
    except ValidationError:
        raise InvalidBackup("the backup's first line is not as authsvc writes it") from None


def read_ending(value: Any) -> Ending:
    """The last line's values.

    Raises:
        InvalidBackup: It is none.
    """
    try:
        return Ending.model_validate(value.get("end") if isinstance(value, dict) else None)
    except ValidationError:
        raise InvalidBackup("the backup's last line is not as authsvc writes it") from None
