"""``authsvc bench rpc``: it runs, and its figures are what was measured."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from authsvc.cli.rpc_bench import Grid, Report, as_dict, figures, known, table, write
from authsvc.cli.rpc_bench.rounds import Cell, Sample
from authsvc.cli.rpc_bench.ways import Way, _live
from authsvc.rpc import AsyncClient
from tests.cli.test_nats import authsvc
from tests.fixtures.authsvc import live_service

OPTIONAL = {name for name in ("aiohttp", "matplotlib") if importlib.util.find_spec(name)}


def sample(rate: float, us: float) -> Sample:
    return Sample(rate, us, us, us * 2, us * 3)


@pytest.fixture
def report() -> Report:
    rates = {"live": (100.0, 300.0, 200.0), "raw": (50.0, 100.0, 400.0)}
    samples: dict[Cell, list[Sample]] = {
        (name, size, count): [sample(rate, 1e6 / rate) for rate in found]
        for name, found in rates.items()
        for size in (10, 1_000_000)
        for count in (1, 64)
    }
    ways = [Way(name, f"way {name}", _live) for name in rates]
    return Report("nowhere", ways, Grid((10, 1_000_000), (1, 64), 3, 0.1), samples)


def test_figures_are_medians_of_ratios_within_rounds(report: Report) -> None:
    found = figures(report)
    # Rounds: 2, 3 and 0.5 times; the ratio of the medians would be another one.
    assert found["live_rate_of_raw_at_64"] == 2
    assert found["live_p50_of_raw_alone"] == 0.5
    assert not any("httpx" in name or "stored" in name for name in found)
    assert report.median(("live", 10, 64)).rate == 200


def test_what_is_written(report: Report, tmp_path: Path) -> None:
    shown = table(report)
    assert "| 1M, 16 at a time | way raw | 100 | 10.00 ms | 10.00 ms | 20.00 ms |" in shown
    assert "| 10 | way live | 200 | 5.00 ms |" in shown
    written = {path.name for path in write(report, tmp_path / "deep" / "er")}
    assert {"rpc.md", "rpc.json"} <= written
    assert ("rpc.svg" in written) == ("rpc.png" in written) == ("matplotlib" in OPTIONAL)
    page = (tmp_path / "deep" / "er" / "rpc.md").read_text()
    assert "| `live_rate_of_raw_at_64` | 2.00 |" in page
    assert "cores" in page
    data = json.loads((tmp_path / "deep" / "er" / "rpc.json").read_text())
    assert data == as_dict(report)
    assert len(data["cells"]) == 8


def test_what_could_not_be_measured_is_left_out(report: Report, tmp_path: Path) -> None:
    for count in (1, 64):
        del report.samples["live", 1_000_000, count]
    assert "| way live |" in table(report)
    assert "at a time | way live" not in table(report)
    assert write(report, tmp_path)


def test_a_way_that_is_none() -> None:
    ways = [Way("live", "", _live), Way("raw", "", _live)]
    assert known([], ways) == ways
    assert known(["raw"], ways) == ways[1:]
    with pytest.raises(ValueError, match="'fax' is none of live, raw"):
        known(["fax"], ways)


async def test_on_a_nats_of_its_own(tmp_path: Path) -> None:
    cells = ("--size", "10", "--concurrency", "1", "--concurrency", "64")
    options = ("--rounds", "1", "--seconds", "0.02", "--output", str(tmp_path / "out"))
    code, out, err = await authsvc("bench", "rpc", *cells, *options, "--json")
    assert code == 0, err
    found = json.loads(out)
    ways = {cell["way"] for cell in found["cells"]}
    assert ways >= {"live", "sync", "stored", "raw", "micro", "httpx"}
    assert ("aiohttp" in ways) == ("aiohttp" in OPTIONAL)
    assert all(cell["rate"] > 0 and cell["p99"] >= cell["p50"] for cell in found["cells"])
    assert found["figures"]["live_rate_of_raw_at_64"] > 0
    assert found["figures"]["stored_rate_of_raw_at_64"] > 0
    assert (tmp_path / "out" / "rpc.md").exists()


async def test_on_a_deployed_nats(tmp_path: Path, sqlite_url: str) -> None:
    async with live_service(tmp_path / "data", sqlite_url, dev_login=True) as service:
        chosen = ("live", "raw", "stored")
        ways = ("--size", "1000", *[word for name in chosen for word in ("--way", name)])
        code, out, err = await authsvc(
            *("bench", "rpc", "--login-method", "dev", "--no-files", "--rounds", "1"),
            *("--seconds", "0.02", "--concurrency", "2", *ways),
            AUTHSVC_URL=service.url,
            AUTHSVC_TOKEN="me@example.com",
        )
        # What was made on somebody's NATS is gone with it.
        async with AsyncClient(service.url, token="me@example.com", method="dev") as client:
            api = client.session.api
            assert api is not None
            assert (await api.apps(client.session.login.jwt))["items"] == []
    assert code == 0, err
    assert "| 1k | authsvc.rpc, async |" in out
    assert "| 1k | authsvc.rpc, stored |" in out
    assert "me@example.com" not in out + err
