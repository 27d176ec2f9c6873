"""The plots of ``benchmarks.report``: bars, and a line where the wanted figure is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.report_parts import Part

_COLOUR, _OTHERS, _LINE = "#0b6e4f", "#9ca3af", "#b91c1c"
_OURS = ("authsvc", "two cores", "accepted", "users", "applied", "closed", "most")


def draw(part: Part, found: Any, folder: Path) -> None:
    """Write ``performance-NAME.png`` and ``.svg``; the same figures make the same files."""
    mpl.rcParams["svg.hashsalt"] = "authsvc"
    bars = part.bars(found)
    figure = Figure(figsize=(7.5, 0.9 + 0.38 * len(bars.values)), layout="constrained")
    axes: Any = figure.subplots()
    labels = list(bars.values)[::-1]
    drawn = axes.barh(
        labels,
        [bars.values[label] for label in labels],
        color=[_COLOUR if any(it in label for it in _OURS) else _OTHERS for label in labels],
        height=0.65,
    )
    axes.bar_label(drawn, fmt="{:,.4g}", padding=4, fontsize=9)
    axes.set_title(bars.title, fontsize=10, loc="left")
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    if bars.line is not None:
        axes.axvline(bars.line, color=_LINE, linestyle="--", linewidth=1.2)
    for ending in (".png", ".svg"):
        metadata = {"Date": None} if ending == ".svg" else {"Software": None}
        figure.savefig(folder / f"performance-{part.name}{ending}", dpi=120, metadata=metadata)
