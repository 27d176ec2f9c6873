"""The dashboard and the alert rules ask for nothing but what is exported."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import yaml  # type: ignore[import-untyped]
from prometheus_client import REGISTRY

from authsvc.server import metrics
from tests.deploy.compose import ROOT

DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "authsvc.json").read_text())
(GROUP,) = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text())["groups"]
RULES = GROUP["rules"]
SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "info": ("_info",),
    "histogram": ("_bucket", "_count", "_sum"),
}
OURS = re.compile(r"\bauthsvc_[a-z_]+\b")


def exported() -> set[str]:
    assert metrics.NATS  # registered with the module
    return {
        family.name + suffix
        for family in REGISTRY.collect()
        if family.name.startswith("authsvc_")
        for suffix in SUFFIXES[family.type]
    }


def expressions() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for rule in RULES:
        yield rule["alert"], rule["expr"]


def test_every_metric_that_is_asked_for_is_exported() -> None:
    known = exported()
    for where, expression in expressions():
        named = set(OURS.findall(expression))
        assert named, where
        assert named <= known, f"{where}: {named - known}"


def test_every_metric_that_is_exported_is_on_the_dashboard() -> None:
    shown = {name for _, text in expressions() for name in OURS.findall(text)}
    for family in REGISTRY.collect():
        if family.name.startswith("authsvc_") and not family.name.startswith("authsvc_rpc_"):
            names = {family.name + suffix for suffix in SUFFIXES[family.type]}
            assert names & shown, family.name


def test_every_alert_has_its_runbook() -> None:
    page = (ROOT / "docs" / "observability.md").read_text()
    headings = {line.lstrip("# ") for line in page.splitlines() if line.startswith("### ")}
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        name = rule["alert"]
        assert name in headings, name
        assert rule["annotations"]["runbook_url"].endswith(f"#{name.lower()}")
        assert rule["labels"]["severity"] in {"critical", "warning"}
    assert {it for it in headings if it.startswith("Authsvc")} == {it["alert"] for it in RULES}


def test_every_metric_is_documented() -> None:
    page = (ROOT / "docs" / "observability.md").read_text()
    for name in exported():
        plain = re.sub(r"_(bucket|count|sum)\Z", "", name)
        assert f"`{plain}" in page, plain


def test_panels_lie_side_by_side() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + dx, place["y"] + dy)
            for dx in range(place["w"])
            for dy in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
