"""The picture that ``cotrain explore`` leaves beside its JSON."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from cotrain.hardware.files import write_bytes
from cotrain.pipeline.tasks import metric_name


def picture(result: dict[str, Any], path: Path) -> None:
    """Draw what `pipeline.evaluation.explore.explore` returned.

    Parameters
    ----------
    path : Path
        Of the .png; replaced whole.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    rows = result["rows"]
    for rate in sorted({row["rate_scale_hz"] for row in rows}):
        mine = [row for row in rows if row["rate_scale_hz"] == rate]
        values = [row["value"] for row in mine]
        for axes, key, factor in ((left, "n_steps", 1), (right, "energy_j", 1e6)):
            axes.plot([row[key] * factor for row in mine], values, "o-", markersize=4, label=f"{rate:g} Hz")
        for row in mine:
            right.annotate(
                str(row["n_steps"]), (row["energy_j"] * 1e6, row["value"]), (3, -10), textcoords="offset points",
                fontsize=7,
            )  # fmt: skip
    knee = next(row for row in rows if row["knee"])
    trained = [row for row in rows if row["trained"]]
    for axes, key, factor in ((left, "n_steps", 1), (right, "energy_j", 1e6)):
        axes.plot(knee[key] * factor, knee["value"], "*", markersize=16, color="black", fillstyle="none", label="knee")
        for row in trained:
            axes.plot(
                row[key] * factor, row["value"], "s", markersize=11, color="grey", fillstyle="none", label="as trained"
            )
        axes.grid(alpha=0.3)
    name = metric_name(result["metric"])
    left.set_xlabel("steps of 1 presentation")
    left.set_ylabel(f"{name}{', shifted' if result['protocol'] else ''} ({result['split']}, n = {result['n_samples']})")
    right.set_xlabel("energy of an inference, estimated (µJ); numbers are steps")
    right.set_xscale("log")
    left.legend(title="rate of activation 1", fontsize=8, title_fontsize=8)
    figure.suptitle(f"{result['experiment']}: {result['model']} on the chip's integers", fontsize=11)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    write_bytes(path, drawn.getvalue())
