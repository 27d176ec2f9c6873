"""What docker-compose and the image rely on: settings, options, and a configuration that holds."""

from __future__ import annotations

import re
from pathlib import Path

from authsvc.server.provision.accounts import OLDEST_SERVER
from authsvc.server.provision.binary import Version
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
    assert len(published) == 3 + 6 + 2
    assert len({port.rpartition(":")[0] for port in published}) == len(published)
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_image_runs_as_nobody_special() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001$", last, re.MULTILINE)
    assert "USER root" not in last
