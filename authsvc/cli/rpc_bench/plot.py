"""The plot: calls per second and the time of one call, by the size of the body."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from authsvc.cli.rpc_bench.report import Report
from authsvc.cli.rpc_bench.rounds import Sample

__all__ = ["draw"]

_COLOURS = ("#0b6e4f", "#6b7280", "#2563eb", "#d97706", "#b91c1c", "#7c3aed", "#0891b2", "#111827")
_INCHES = (11.0, 4.6)


def draw(report: Report, stem: Path) -> list[Path]:
    """Write ``stem.png`` and ``stem.svg``; the same numbers make the same files."""
    mpl.rcParams["svg.hashsalt"] = "authsvc"
    figure = Figure(figsize=_INCHES, layout="constrained")
    most = max(report.grid.concurrency)
    left, right = figure.subplots(1, 2)
    _panel(report, left, most, "rate", f"calls per second, {most} at a time")
    alone = min(report.grid.concurrency)
    what = "one after the other" if alone == 1 else f"{alone} at a time"
    _panel(report, right, alone, "p50", f"median time of a call in us, {what}")
    left.legend(fontsize="small", frameon=False)
    paths = [stem.with_suffix(".png"), stem.with_suffix(".svg")]
    for path in paths:
        metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        figure.savefig(path, dpi=130, metadata=metadata)
    return paths


def _panel(report: Report, axes: object, count: int, member: str, title: str) -> None:
    for place, way in enumerate(report.ways):
        cells = [(way.name, size, count) for size in report.grid.sizes]
        cells = [cell for cell in cells if cell in report.samples]
        values = [_value(report.median(cell), member) for cell in cells]
        axes.plot(  # type: ignore[attr-defined]
            [size for _, size, _ in cells],
            values,
            marker="o",
            markersize=4,
            linewidth=2.4 if way.ours else 1.4,
            linestyle="-" if way.ours else "--",
            color=_COLOURS[place % len(_COLOURS)],
            label=way.title,
        )
    axes.set(xscale="log", yscale="log", xlabel="bytes of the body", title=title)  # type: ignore[attr-defined]
    axes.grid(visible=True, which="both", alpha=0.25)  # type: ignore[attr-defined]


def _value(sample: Sample, member: str) -> float:
    return float(getattr(sample, member))
