"""Files that somebody else made, or changed: refused, in bounded memory, with nothing written."""

from __future__ import annotations

import io
import resource
import sqlite3
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authsvc.errors import AuthsvcError, InvalidBackup
from authsvc.server.backup import Reader, lines
from authsvc.server.backup.envelope import Sealed, unseal
from tests.server.backup.conftest import IDENTITY, Origin, RestoreTo

Lines = list[dict[str, Any] | list[Any]]


def lines_of(sealed: bytes) -> Lines:
    text = zlib.decompress(b"".join(unseal(io.BytesIO(sealed), [IDENTITY])), 31)
    return [orjson.loads(line) for line in text.splitlines()]


def sealed_again(text: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    file = io.BytesIO()
    writer = Sealed(file, [IDENTITY.recipient])
    writer.write(packer.compress(text) + packer.flush())
    writer.close()
    return file.getvalue()


def made_of(lines: Lines) -> bytes:
    return sealed_again(b"".join(orjson.dumps(line) + b"\n" for line in lines))


def read(sealed: bytes) -> Reader:
    reader = Reader(io.BytesIO(sealed), [IDENTITY])
    for _ in reader.rows():
        pass
    reader.finish()
    return reader


def _left(target: Path) -> list[str]:
    return [it.name for it in target.rglob("*")] if target.exists() else []


async def test_every_change_is_found(sealed: bytes) -> None:
    @settings(max_examples=100)
    @given(st.integers(0, len(sealed) - 1), st.integers(1, 255))
    def changed(place: int, mask: int) -> None:
        wrong = bytearray(sealed)
        wrong[place] ^= mask
        with pytest.raises(InvalidBackup):
            read(bytes(wrong))

    @settings(max_examples=50)
    @given(st.integers(0, len(sealed) - 1))
    def cut(length: int) -> None:
        with pytest.raises(InvalidBackup):
            read(sealed[:length])

    changed()
    cut()


async def test_what_is_changed_or_cut_off_leaves_nothing(
    sealed: bytes, restore_to: RestoreTo, tmp_path: Path
) -> None:
    for wrong in (sealed[:-1], sealed[: len(sealed) // 2], sealed[:-9] + bytes(9)):
        with pytest.raises(InvalidBackup, match=r"cut off|changed"):
            await restore_to(wrong)
        assert _left(tmp_path / "target") == []
        assert not (tmp_path / "target").exists()


CHANGES: dict[str, Callable[[Lines], Lines]] = {
    "a newer form": lambda it: _head(it, version=2),
    "a newer schema": lambda it: _head(it, revision="9999"),
    "a schema that is none": lambda it: _head(it, revision="../x"),
    "something else": lambda _: [{"head": {"format": "tar"}}],
    "nothing": lambda _: [],
    "no object": lambda _: [[1]],
    "a missing row": lambda it: [line for line in it if line != it[-2]],
    "one row twice": lambda it: [*it[:-1], it[-2], it[-1]],
    "no end": lambda it: it[:-1],
    "something after the end": lambda it: [*it, {"message": {}}],
    "two ends": lambda it: [*it, it[-1]],
    "another table first": lambda it: [*it[:2], {"table": "../../etc/passwd"}, *it[3:]],
    "a table of a path": lambda it: _table(it, "../../etc/passwd"),
    "a table of SQL": lambda it: _table(it, 'users"; DROP TABLE users; --'),
    "a table of the database's own": lambda it: _table(it, "sqlite_master"),
    "a table of alembic's": lambda it: _table(it, "alembic_version"),
    "a table of pg's": lambda it: _table(it, "pg_authid"),
    "a master key of another length": lambda it: [it[0], {"master_keys": ["AAAA"]}, *it[2:]],
    "no master key": lambda it: [it[0], {"master_keys": []}, *it[2:]],
    "a master key of a path": lambda it: [it[0], {"master_keys": ["/etc/passwd"]}, *it[2:]],
    "a row of another kind": lambda it: [*it[:3], [1] * len(it[3]), *it[4:]],
    "a row of objects": lambda it: [*it[:3], [{}] * len(it[3]), *it[4:]],
    "a shorter row": lambda it: [*it[:3], it[3][:-1], *it[4:]],  # type: ignore[index]
    "another value": lambda it: [*it[:3], ["x", *it[3][1:]], *it[4:]],  # type: ignore[index]
}


def _head(lines: Lines, **values: Any) -> Lines:
    head = lines[0]
    assert isinstance(head, dict)
    return [{"head": head["head"] | values}, *lines[1:]]


def _table(lines: Lines, name: str) -> Lines:
    head = lines[0]
    assert isinstance(head, dict)
    tables = dict(head["head"]["tables"])
    return _head(lines, tables={name: {"columns": {"version_num": "text"}, "rows": 1}, **tables})


async def test_what_somebody_else_sealed_is_refused(
    sealed: bytes, restore_to: RestoreTo, tmp_path: Path
) -> None:
    """Who knows a public key can seal anything to it."""
    whole = lines_of(sealed)
    assert read(made_of(whole)).ending
    for name, change in CHANGES.items():
        wrong = made_of(change(list(whole)))
        # What only a database can tell is seen by restoring; the rest by reading alone.
        if name.startswith(("a newer schema", "a schema", "a table", "another table")):
            with pytest.raises(InvalidBackup):
                await restore_to(wrong)
            assert _left(tmp_path / "target") == [], name
        else:
            with pytest.raises(InvalidBackup):
                read(wrong)


async def test_rows_that_contradict_each_other_are_refused(
    small: Origin, restore_to: RestoreTo, tmp_path: Path
) -> None:
    """Though every digest fits: the database's own rules stand."""
    # On a connection of its own: sqlite3 looks at foreign keys only where it is told to.
    with closing(sqlite3.connect(tmp_path / "authsvc.db")) as connection, connection:
        connection.execute("DELETE FROM users WHERE id LIKE '%0'")
    _, wrong = await small.backup()
    with pytest.raises(InvalidBackup, match="contradicts another row"):
        await restore_to(wrong)
    assert _left(tmp_path / "target") == []


@pytest.mark.parametrize("tail", [b" ", b"\n"])
def test_bombs_are_bounded(tail: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """One endless line, and endless lines: a hundred megabytes in a hundred kilobytes."""
    monkeypatch.setattr(lines, "LONGEST", 4 << 20)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    file = io.BytesIO()
    writer = Sealed(file, [IDENTITY.recipient])
    piece = (b" " * 1023 + tail) * 1024
    for _ in range(100):
        writer.write(packer.compress(piece))
    writer.write(packer.flush())
    writer.close()
    assert len(file.getvalue()) < 500_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidBackup):
        read(file.getvalue())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


@settings(max_examples=60)
@given(st.binary(max_size=200))
def test_anything_sealed_is_refused(text: bytes) -> None:
    for data in (text, b'{"head":' + text, b"\x1f\x8b" + text):
        with pytest.raises(AuthsvcError):
            read(sealed_again(data))
