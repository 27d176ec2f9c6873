"""What ``docker compose up`` would start, started here without Docker, from the same file.

Each container becomes a process with an address of its own in 127.0.0.0/8, so that ports are those
of docker-compose.yml. Commands, environment, volumes and the order of starting are read from it;
images are what they stand for: our package, the packaged nats-server, the tests' PostgreSQL.

    compose = Compose(tmp_path, {"POSTGRES_PASSWORD": "x"}, postgres_url)
    await compose.up("authsvc")             # and what it depends on
    compose["authsvc"].address
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from authsvc.server.provision import guard
from authsvc.server.provision.binary import find_nats_server
from authsvc.server.provision.ports import choose_port
from tests.fixtures import forks

__all__ = ["ROOT", "Compose", "Container", "interpolate"]

ROOT = Path(__file__).parents[2]
_READY_SECONDS = 90
_VARIABLE = re.compile(r"\$\{(\w+)(?:(:[-+?])([^{}]*))?\}")
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_ADDRESSES = (f"127.{77 + _WORKER}.{n // 250}.{n % 250 + 1}" for n in itertools.count())


def interpolate(found: Any, variables: dict[str, str]) -> Any:
    """A document with its variables filled in, after it is read, as compose does."""
    if isinstance(found, dict):
        return {name: interpolate(value, variables) for name, value in found.items()}
    if isinstance(found, list):
        return [interpolate(value, variables) for value in found]
    return _filled(found, variables) if isinstance(found, str) else found


def _filled(text: str, variables: dict[str, str]) -> str:
    """Compose's ``${NAME}``, ``${NAME:-default}``, ``${NAME:+instead}``, ``${NAME:?message}``."""

    def value(match: re.Match[str]) -> str:
        name, way, word = match.groups()
        found = variables.get(name, "")
        if way == ":?" and not found:
            raise KeyError(f"{name}: {word}")
        if way == ":+":
            return str(word) if found else ""
        return found or (str(word) if way == ":-" else "")

    return _VARIABLE.sub(value, text)


class Container:
    """One service of the file, as a process."""

    def __init__(self, compose: Compose, name: str, spec: dict[str, Any]) -> None:
        self.name, self.spec = name, spec
        self.address = next(_ADDRESSES)
        self.root = compose.folder / name
        self.log = compose.folder / f"{name}.log"
        self._compose = compose
        self._process: subprocess.Popen[bytes] | None = None
        self.root.mkdir(parents=True)
        self._mounts = dict(self._mounted())

    def _mounted(self) -> Iterator[tuple[str, Path]]:
        """What stands where inside; each also as a link under the container's root."""
        for text in self.spec.get("volumes", []):
            source, target = text.removesuffix(":ro").rsplit(":", 1)
            if source.startswith("."):
                place = ROOT / source
            elif source.startswith("/"):
                place = Path(source)
            else:
                assert source in self._compose.volumes, source
                place = self._compose.folder / "volumes" / source
                place.mkdir(parents=True, exist_ok=True)
            link = self.root / target.lstrip("/")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(place)
            yield target, link

    def _here(self, text: str) -> str:
        """Paths and addresses inside the container as they are on this machine."""
        for target, link in self._mounts.items():
            text = re.sub(rf"(?<![\w/.-]){re.escape(target)}(?![\w-])", str(link), text)
        text = text.replace("0.0.0.0", self.address)  # noqa: S104
        return self._compose.resolve(text)

    def environment(self) -> dict[str, str]:
        image = dict(re.findall(r"\b(AUTHSVC_\w+)=(\S+)", (ROOT / "Dockerfile").read_text()))
        own = {**image, **self.spec.get("environment", {})}
        plain = {
            name: value for name, value in os.environ.items() if not name.startswith("AUTHSVC")
        }
        # Nothing of what clients are told is an address inside.
        outside = {"AUTHSVC_PUBLIC_URL", "AUTHSVC_EXTRA_ORIGINS", "AUTHSVC_NATS_URLS"}
        here = {
            name: value if name in outside else self._here(str(value))
            for name, value in own.items()
        }
        return {**plain, **here}

    def _command(self) -> list[str]:
        words = [str(word) for word in self.spec["command"]]
        if self.spec["image"] == "authsvc":
            # The configuration is for another container, but for where it is written.
            moved = [self._here(w) if w.startswith("--output=") else w for w in words]
            return [*forks.authsvc(), *moved]
        assert self.spec["image"].startswith("nats:")
        # Into files of its own, because three containers share what their volumes hold.
        for link in self._mounts.values():
            if link.suffix == ".conf":
                text = self._here(link.read_text())
                link.unlink()
                link.write_text(text)
            elif link.name == "operator":
                text = self._here((link / "operator.conf").read_text())
                link.unlink()
                link.mkdir()
                monitor = f'http: "127.0.0.1:{choose_port("127.0.0.1")}"'
                changed, count = re.subn(r'http: "127\.0\.0\.1:8222"', monitor, text)
                assert count == 1
                (link / "operator.conf").write_text(changed)
        return [str(find_nats_server().path), *map(self._here, words)]

    def start(self) -> None:
        way = "kernel" if sys.platform == "linux" else "pipe"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__, way, str(os.getpid()),
                 *self._command()],
                env=self.environment(), stdin=subprocess.PIPE, stdout=log, stderr=log,
            )  # fmt: skip

    async def until(self, condition: str) -> None:
        """Wait for what ``depends_on`` asks for."""
        assert self._process is not None
        if condition == "service_completed_successfully":
            code = await asyncio.to_thread(self._process.wait, _READY_SECONDS)
            assert code == 0, self.log.read_text()[-3000:]
            return
        assert condition == "service_healthy"
        async with asyncio.timeout(_READY_SECONDS):
            while not await self._healthy():
                assert self._process.poll() is None, self.log.read_text()[-3000:]
                await asyncio.sleep(0.2)

    async def _healthy(self) -> bool:
        if self.spec["image"] == "authsvc":
            dockerfile = (ROOT / "Dockerfile").read_text()
            (test,) = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", dockerfile, re.MULTILINE)
            words = [sys.executable, *yaml.safe_load(test)[1:]]
            process = await asyncio.create_subprocess_exec(
                *words, env=self.environment(), stderr=subprocess.DEVNULL
            )
            return await process.wait() == 0
        try:
            reader, writer = await asyncio.open_connection(self.address, 4222)
        except OSError:
            return False
        greeting = await reader.readline()
        writer.close()
        return greeting.startswith(b"INFO ")

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait(20)
            assert process.stdin is not None
            process.stdin.close()

    @property
    def started(self) -> bool:
        """Whether it was started, even if it has ended since, as it may."""
        return self._process is not None


class Compose:
    """The services of docker-compose.yml.

    Args:
        folder: For volumes and logs.
        variables: What ``.env`` would say.
        database_url: A fresh database, in place of every PostgreSQL in the file.
    """

    def __init__(self, folder: Path, variables: dict[str, str], database_url: str) -> None:
        document = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
        document = interpolate(document, variables)
        self.folder = folder
        self.volumes = document["volumes"].keys()
        self._database = re.sub(r".*@", "@", database_url)
        self.containers = {
            name: Container(self, name, spec) for name, spec in document["services"].items()
        }

    def __getitem__(self, name: str) -> Container:
        return self.containers[name]

    def resolve(self, text: str) -> str:
        """Host names of containers as their addresses; PostgreSQL's as the real one's."""
        text = re.sub(r"@(cluster-)?postgres/authsvc", self._database, text)
        for container in self.containers.values():
            names = [container.name]
            for network in container.spec.get("networks", {}).values():
                names += network.get("aliases", [])
            for name in names:
                text = re.sub(rf"(?<=//){re.escape(name)}(?=:\d)", container.address, text)
        return text

    async def up(self, *names: str) -> None:
        """Start services and what they depend on, each when that is ready."""
        for name in names:
            container = self[name]
            if container.started or container.spec["image"].startswith("postgres"):
                continue
            needs = container.spec.get("depends_on", {})
            await self.up(*needs)
            for needed, spec in needs.items():
                if not self[needed].spec["image"].startswith("postgres"):
                    await self[needed].until(spec["condition"])
            container.start()

    def down(self) -> None:
        for container in reversed(self.containers.values()):
            container.stop()
