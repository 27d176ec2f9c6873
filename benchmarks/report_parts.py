"""The parts of ``benchmarks.report``: which benchmark, which of its figures, and what is wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """A figure of the table.

    Args:
        title: What it is.
        text: The figure, with its unit.
        wanted: What it should be; empty where nothing was asked for.
        holds: Whether it is; None where nothing was asked for.
    """

    title: str
    text: str
    wanted: str = ""
    holds: bool | None = None


@dataclass(frozen=True, slots=True)
class Bars:
    """What is drawn.

    Args:
        title: With its unit.
        values: By label, from the top.
        line: Where the wanted figure is, if it can be drawn.
    """

    title: str
    values: dict[str, float]
    line: float | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One benchmark.

    Args:
        name: Of the part, and of its plot.
        command: What comes after ``python -m``; ``--json`` is added.
        rows: From what it printed to the table.
        bars: From what it printed to the plot.
        postgres: Whether it gets ``--database`` with a PostgreSQL of its own.
        quick: Options that make it short, for trying.
    """

    name: str
    command: str
    rows: Callable[[Any], list[Row]]
    bars: Callable[[Any], Bars]
    postgres: bool = False
    quick: str = ""


def least(title: str, value: float, bound: float) -> Row:
    """A ratio that should be at least so much."""
    return Row(title, f"{value:.2f}", f"≥ {bound:g}", value >= bound)


def most(title: str, value: float, bound: float, unit: str) -> Row:
    """Something that should be at most so much."""
    return Row(title, f"{value:g} {unit}".strip(), f"≤ {bound:g} {unit}".strip(), value <= bound)


def _issue(store: str) -> Callable[[Any], list[Row]]:
    def rows(found: Any) -> list[Row]:
        ceiling = found["crypto per second"] / found["constant per second"]
        return [
            least(f"logins of a constant route, {store}", found["authsvc / constant"], 0.33),
            least(f"logins of cryptography alone, {store}", found["authsvc / crypto"], 0.8),
            # What a login that does nothing else would have.
            Row(f"cryptography alone of a constant route, {store}", f"{ceiling:.2f}"),
        ]

    return rows


def _issue_bars(store: str) -> Callable[[Any], Bars]:
    def bars(found: Any) -> Bars:
        names = ("constant", "crypto", "authsvc", "first login")
        values = {name: found[f"{name} per second"] for name in names}
        return Bars(f"answers per second, 32 connections, {store}", values)

    return bars


def _stepca(found: Any) -> list[Row]:
    rows = []
    for cores, it in found.items():
        name, ratio = f"logins of step-ca's certificates, {cores}", it["authsvc / step-ca"]
        rows += [
            # One process of ours has one core, whatever step-ca may use.
            least(name, ratio, 2) if cores == "one core each" else Row(name, f"{ratio:.2f}"),
            Row("the same, ours over TLS too", f"{it['authsvc over TLS / step-ca']:.2f}"),
        ]
        if (replicas := it.get("two replicas of authsvc / step-ca")) is not None:
            rows.append(Row("the same, two replicas over PostgreSQL", f"{replicas:.2f}"))
        rows += [
            Row(
                f"CPU time of a certificate by that of a login, {cores}",
                f"{it['cpu, step-ca / authsvc']:.2f}",
            ),
            Row(
                f"step-ca's certificates of a constant route, {cores}",
                f"{it['step-ca / constant']:.2f}",
            ),
        ]
    return rows


def _stepca_bars(found: Any) -> Bars:
    values = {
        f"{name}, {cores}": value
        for cores, it in found.items()
        for name, value in it["per second"].items()
        if name != "constant"  # the others would look alike beside it
    }
    return Bars("answers per second, 32 connections", values)


def _push(found: Any) -> list[Row]:
    rows = []
    for it in found:
        nodes = "1 server" if it["nodes"] == 1 else f"{it['nodes']} servers"
        rows += [
            Row(
                f"revoked to applied with {it['carried']:,} entries, {nodes}",
                f"{it['answered_p50_ms']:g} ms",
            ),
            Row(
                f"push of {it['pushed_bytes'] / 1024:.0f} KiB (10,000 entries), {nodes}",
                f"{it['pushed_p50_ms']:g} ms",
            ),
        ]
    return rows


def _push_bars(found: Any) -> Bars:
    values = {}
    for it in found:
        nodes = f"{it['nodes']} server" + ("s" if it["nodes"] > 1 else "")
        values[f"connection closed, {nodes}"] = it["closed_p50_ms"]
        values[f"answered: applied, {nodes}"] = it["answered_p50_ms"]
        values[f"push alone, 10,000, {nodes}"] = it["pushed_p50_ms"]
    return Bars("milliseconds, median", values)


def _startup(found: Any) -> list[Row]:
    many = str(found["users"])
    return [
        most(f"start with {found['users']:,} users", found["seconds"][many], 3, "s"),
        Row("the same by a start with 100 users", f"{found['ratio']:.2f}"),
    ]


def _memory(found: Any) -> list[Row]:
    said = f"{found['accepted']:,} accepted, {found['refused']:,} refused"
    title = f"resident memory at {found['attempted_per_second']:,} logins/s attempted ({said})"
    return [most(title, found["resident_mib"]["most"], 150, "MiB")]


def _overload(found: Any) -> list[Row]:
    return [
        most("p99 of the accepted at three times capacity, of unloaded", found["p99_ratio"], 2, ""),
        Row("accepted then, of the capacity", f"{found['accepted_share']:.2f}"),
    ]


def _overload_bars(found: Any) -> Bars:
    over, calm = found["overloaded"], found["unloaded"]
    values = {
        "half of capacity, p99": calm["accepted_p99_ms"],
        "three times, accepted, p50": over["accepted_p50_ms"],
        "three times, accepted, p99": over["accepted_p99_ms"],
        "three times, refused, p99": over["refused_p99_ms"] or 0,
    }
    return Bars("milliseconds", values, 2 * calm["accepted_p99_ms"])


PARTS = (
    Part(
        "mint",
        "authsvc bench mint",
        lambda found: [least("minting of the bare library loop", found["ratio"], 0.95)],
        lambda found: Bars(
            "JWTs per CPU second",
            {"bare loop": found["bare_per_cpu_s"], "authsvc": found["mint_per_cpu_s"]},
            0.95 * found["bare_per_cpu_s"],
        ),
        quick="--seconds 2",
    ),
    Part(
        "issue",
        "benchmarks.issue --rounds 15",
        _issue("SQLite"),
        _issue_bars("SQLite"),
        quick="--rounds 2 --requests 400",
    ),
    Part(
        "issue-postgres",
        "benchmarks.issue --rounds 15",
        _issue("PostgreSQL"),
        _issue_bars("PostgreSQL"),
        postgres=True,
        quick="--rounds 2 --requests 400",
    ),
    Part(
        "stepca",
        "benchmarks.stepca",
        _stepca,
        _stepca_bars,
        quick="--rounds 2 --requests 400",
    ),
    Part(
        "replicas",
        "benchmarks.replicas_speed",
        lambda found: [
            least("two replicas on two cores of one", found["two on two cores / one on one"], 1.6),
            Row("the same, one unpinned", f"{found['two / one, unpinned']:.2f}"),
        ],
        lambda found: Bars("logins per second, PostgreSQL", found["per second"]),
        quick="--rounds 2 --requests 400",
    ),
    Part(
        "push",
        "benchmarks.revocation --users 20 --revocations 10000",
        _push,
        _push_bars,
        quick="--users 5",
    ),
    Part(
        "startup",
        "benchmarks.startup",
        _startup,
        lambda found: Bars(
            "seconds from exec to ready",
            {f"{int(count):,} users": value for count, value in found["seconds"].items()},
            3,
        ),
        quick="--rounds 1",
    ),
    Part(
        "memory",
        "benchmarks.memory",
        _memory,
        lambda found: Bars("resident MiB", found["resident_mib"], 150),
        quick="--seconds 10",
    ),
    Part("overload", "benchmarks.overload", _overload, _overload_bars, quick="--seconds 3"),
    Part(
        "rpc",
        "benchmarks.rpc --rounds 15",
        lambda found: [least("calls of raw nats-py, 64 at a time", found["throughput_ratio"], 1.4)],
        lambda found: Bars(
            "calls per second, 64 at a time",
            {"nats-py request": found["raw"]["rate"], "authsvc.rpc": found["ours"]["rate"]},
            1.4 * found["raw"]["rate"],
        ),
        quick="--rounds 2",
    ),
)
