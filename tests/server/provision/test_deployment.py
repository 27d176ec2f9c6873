"""What docker-compose and the image rely on: settings, options, and a configuration that holds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from authsvc.server.provision.accounts import OLDEST_SERVER
from authsvc.server.provision.binary import Version, find_nats_server
from authsvc.server.settings import unknown_variables

ROOT = Path(__file__).parents[3]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_every_setting_is_one() -> None:
    for text in (COMPOSE, DOCKERFILE):
        names = set(re.findall(r"\bAUTHSVC_[A-Z_]+", text))
        assert names
        assert unknown_variables(dict.fromkeys(names, "")) == []


def test_nats_server_is_new_enough() -> None:
    (image,) = re.findall(r"image: nats:([\d.]+)-alpine", COMPOSE)
    assert Version.parse(f"nats-server: v{image}") >= Version.parse(
        f"nats-server: v{OLDEST_SERVER}"
    )


def test_every_port_is_for_this_machine() -> None:
    published = re.findall(r'- "([\d.]*:?\d+:\d+)"', COMPOSE)
    assert len(published) == 3
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_image_runs_as_nobody_special() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001$", last, re.MULTILINE)
    assert "USER root" not in last


def test_nats_server_takes_what_the_command_in_compose_writes(tmp_path: Path) -> None:
    options = re.findall(r"^      - (--[a-z-]+=\S+)$", COMPOSE, re.MULTILINE)
    assert len(options) == 5
    # The paths inside the containers, moved to where the test may write.
    operator = tmp_path / "operator" / "operator.conf"
    moved = {"--output": operator, "--store-dir": tmp_path / "data"}
    arguments = [
        f"{name}={moved.get(name, value)}"
        for name, value in (option.split("=", 1) for option in options)
    ]
    subprocess.run(
        [sys.executable, "-m", "authsvc", "nats", "config", *arguments],
        env={**os.environ, "AUTHSVC_DATA_DIR": str(tmp_path / "authsvc")},
        check=True, capture_output=True,
    )  # fmt: skip
    shutil.copy(ROOT / "nats" / "nats-server.conf", tmp_path)
    done = subprocess.run(
        [find_nats_server().path, "-t", "-c", tmp_path / "nats-server.conf"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not re.search(r"\bS[OAU][A-Z2-7]{56}\b", operator.read_text())
