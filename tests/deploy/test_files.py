"""What is shipped in deploy/: settings that exist, nothing that may do more than it must."""

from __future__ import annotations

import re
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from authsvc.server.provision.accounts import OLDEST_SERVER
from authsvc.server.provision.binary import Version
from authsvc.server.provision.config import MAX_ACCOUNTS, RESOLVER_INTERVAL
from authsvc.server.settings import unknown_variables
from tests.deploy.compose import ROOT
from tests.fixtures.authsvc import LiveService

DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
MANIFESTS = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "authsvc.yaml").read_text()))
VALUES = yaml.safe_load((DEPLOY / "kubernetes" / "nats-values.yaml").read_text())
DOCS = [ROOT / "docs" / f"{name}.md" for name in ("deployment", "kubernetes", "observability")]


def files() -> Iterator[Path]:
    yield from (path for path in DEPLOY.rglob("*") if path.is_file())
    yield from DOCS


@pytest.mark.parametrize("path", list(files()), ids=lambda path: path.name)
def test_every_setting_is_one(path: Path) -> None:
    names = set(re.findall(r"\bAUTHSVC_[A-Z_]+", path.read_text()))
    assert unknown_variables(dict.fromkeys(names, "")) == []


def unit(path: Path) -> ConfigParser:
    found = ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read_string(path.read_text())
    return found


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_can_do_little(path: Path) -> None:
    service = unit(path)["Service"]
    for name in ("DynamicUser", "NoNewPrivileges", "PrivateDevices", "MemoryDenyWriteExecute"):
        assert service[name] == "yes", name
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == service["AmbientCapabilities"] == ""
    assert service["StateDirectoryMode"] == "0700"
    # No secret in the environment or on the command line: credentials, by file.
    text = path.read_text()
    for secret in ("MASTER_KEY", "DATABASE_URL", "SECRET"):
        assert not re.search(rf"^[^#\n]*{secret}=", text, re.MULTILINE)


def of_kind(kind: str) -> dict[str, Any]:
    (found,) = [it for it in MANIFESTS if it["kind"] == kind]
    assert isinstance(found, dict)
    return found


def test_the_pod_can_do_little_and_is_probed() -> None:
    pod = of_kind("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert f"USER {pod['securityContext']['runAsUser']}\n" in (ROOT / "Dockerfile").read_text()
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    probes = {name: container[name]["httpGet"]["path"] for name in container if "Probe" in name}
    assert probes == {
        "startupProbe": "/healthz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    for value in of_kind("ConfigMap")["data"].values():
        if value.startswith("/"):
            assert any(value.startswith(f"{mount}/") for mount in mounts), value


async def test_the_ingress_shows_every_route_but_metrics(service: LiveService) -> None:
    (rule,) = of_kind("Ingress")["spec"]["rules"]
    exact = {it["path"] for it in rule["http"]["paths"] if it["pathType"] == "Exact"}
    prefixes = tuple(it["path"] for it in rule["http"]["paths"] if it["pathType"] == "Prefix")
    routes = (await service.http.get("/openapi.json")).json()["paths"]
    for path in [*routes, "/console"]:
        assert path in exact or path.startswith(prefixes), path
    assert "/metrics" not in exact
    assert not "/metrics".startswith(prefixes)


def test_the_chart_s_values_say_what_our_own_configuration_does() -> None:
    tag = VALUES["container"]["image"]["tag"].removesuffix("-alpine")
    assert Version.parse(f"nats-server: v{tag}") >= Version.parse(f"nats-server: v{OLDEST_SERVER}")
    config = VALUES["config"]
    assert config["resolver"]["merge"] == {
        "type": "full",
        "allow_delete": False,
        "interval": RESOLVER_INTERVAL,
        "limit": MAX_ACCOUNTS,
        "timeout": "2s",
    }
    assert config["jetstream"]["merge"] == {"strict": True}
    assert config["cluster"]["tls"]["merge"] == {"verify": True}
    assert all(config[name]["tls"]["enabled"] for name in ("nats", "websocket", "cluster"))


def test_the_proxies_keep_metrics_inside_and_share_out_to_both_replicas() -> None:
    for name in ("Caddyfile", "nginx.conf"):
        text = (DEPLOY / "proxy" / name).read_text()
        assert "/metrics" in text
        assert {"127.0.0.1:8090", "127.0.0.1:8091"} <= set(re.findall(r"127\.0\.0\.1:\d+", text))
        assert "AUTHSVC_TRUSTED_PROXIES" in text
