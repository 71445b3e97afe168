"""The picture that ``cotrain explore`` leaves beside its JSON: score against steps, spikes and energy; the knee."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from cotrain.hardware.files import write_bytes
from cotrain.pipeline.tasks import metric_name

DEPTH = 0.25  # of the best score, below which points are drawn at the lower edge: near the knee thousandths count
PANELS = (  # key of a row, factor, what the axis says
    ("n_steps", 1.0, "steps of 1 presentation"),
    ("spikes_per_inference", 1.0, "spikes of an inference"),
    ("energy_j", 1e6, "energy of an inference, estimated (µJ)"),
)


def picture(result: dict[str, Any], path: Path) -> None:
    """Draw what `pipeline.evaluation.explore.explore` returned.

    Parameters
    ----------
    path : Path
        Of the .png; replaced whole.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    rows = result["rows"]
    values = [row["value"] for row in rows]
    best = max(values)
    floor = max(min(values), (1 - DEPTH) * best)
    room = 0.06 * (best - floor) or 0.01
    figure = Figure(figsize=(12, 4.4), dpi=110)
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(PANELS), sharey=True)
    figure.subplots_adjust(left=0.06, right=0.985, bottom=0.12, top=0.9, wspace=0.06)
    for axes, (key, factor, words) in zip(panels, PANELS, strict=True):
        axes.axhspan(best - result["tolerance"], best, color="0.9", zorder=0)
        for rate in sorted({row["rate_scale_hz"] for row in rows}):
            mine = sorted((row for row in rows if row["rate_scale_hz"] == rate), key=lambda row: row["n_steps"])
            x = [row[key] * factor for row in mine]
            (line,) = axes.plot(x, [row["value"] for row in mine], "o-", markersize=4, label=f"{rate:g} Hz")
            below = [one for one, row in zip(x, mine, strict=True) if row["value"] < floor]
            axes.plot(below, [floor] * len(below), "v", markersize=7, color=line.get_color(), clip_on=False)
            for one, row in zip(x, mine, strict=True):
                if key != "n_steps" and row["value"] >= floor:
                    axes.annotate(
                        str(row["n_steps"]), (one, row["value"]), (3, -10), textcoords="offset points", fontsize=7
                    )
        for row in rows:
            if row["knee"]:
                axes.plot(row[key] * factor, row["value"], "*", markersize=17, color="black", fillstyle="none")
            if row["trained"]:
                axes.plot(row[key] * factor, row["value"], "s", markersize=11, color="grey", fillstyle="none")
        axes.set_xlabel(words)
        axes.set_ylim(floor - room, best + room)
        axes.grid(alpha=0.3)
        if key != "n_steps":
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(EngFormatter(sep="") if factor == 1 else "{x:,g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
    panels[0].set_ylabel(
        f"{metric_name(result['metric'])}{', shifted' if result['protocol'] else ''} "
        f"({result['split']}, n = {result['n_samples']})"
    )
    panels[0].plot([], [], "*", markersize=12, color="black", fillstyle="none", label="knee")
    panels[0].plot([], [], "s", markersize=9, color="grey", fillstyle="none", label="as trained")
    if min(values) < floor:
        panels[0].plot([], [], "v", markersize=6, color="grey", label="below this range")
    panels[0].legend(title="rate of activation 1", fontsize=8, title_fontsize=8)
    cores = result.get("cores")
    where = f", {cores} cores" if cores else ""
    figure.suptitle(
        f"{result['experiment']}: {result['model']} on the chip's integers{where}; numbers are steps, grey is within "
        f"{result['tolerance']:g} of the best",
        fontsize=11,
    )
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    write_bytes(path, drawn.getvalue())
