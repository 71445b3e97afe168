"""Predictions drawn over the images they were made from, and the spikes of one inference."""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
from cotrain.pipeline.datasets import IGNORE
from cotrain.pipeline.report import text
from cotrain.pipeline.report.charts import document
from PIL import Image

RASTER_NEURONS = 32  # rows drawn per layer
RASTER_WIDTH = 520  # viewBox units
PANEL_WIDTH = 240  # viewBox units; an image is stretched to it


def panel(
    image: np.ndarray, target: np.ndarray | None, prediction: np.ndarray | None, title: str, value: str, alt: str
) -> str:
    """One image with the target (dashed) and the prediction (solid), and a line under it.

    Parameters
    ----------
    image : (height, width) or (height, width, 3) uint8
    target, prediction : (4,) box as fractions [y0, x0, y1, x1], or (height, width) mask, bool or labels; None: neither
    value : str
        Stands behind the title.
    """
    return f"{over(image, target, prediction, alt)}<p><strong>{escape(title)}</strong> {escape(value)}</p>"


def over(image: np.ndarray, target: np.ndarray | None, prediction: np.ndarray | None, alt: str) -> str:
    """The drawing of `panel` without its line."""
    height, width = image.shape[:2]
    scale = PANEL_WIDTH / width
    parts = [
        f'<image class="photo" href="{png(image)}" width="{PANEL_WIDTH}" height="{height * scale:.1f}"'
        ' preserveAspectRatio="none"/>'
    ]
    for css, shape in (("truth", target), ("guess", prediction)):
        if shape is not None:
            path = outline(shape, height, width, scale)
            parts += [f'<path class="halo" d="{path}"/>', f'<path class="{css}" d="{path}"/>'] if path else []
    return document(PANEL_WIDTH, round(height * scale, 1), parts, alt)


def outline(shape: np.ndarray, height: int, width: int, scale: float) -> str:
    """SVG path of a box, or of the edges between a mask and its outside."""
    if shape.shape == (4,):
        y0, x0, y1, x1 = (float(v) * n * scale for v, n in zip(shape, (height, width) * 2, strict=True))
        return f"M{x0:.1f} {y0:.1f}H{x1:.1f}V{y1:.1f}H{x0:.1f}Z"
    labels = [k for k in np.unique(shape).tolist() if k and k != IGNORE]
    return "".join(_edges(np.pad(shape == k, 1), scale) for k in labels)


def _edges(mask: np.ndarray, scale: float) -> str:
    """SVG path between a padded mask and its outside."""
    path = []
    for across, command in ((mask, "h"), (mask.T, "v")):
        edge = across[1:] != across[:-1]  # between row i - 1 and row i of the unpadded mask
        for line in np.flatnonzero(edge.any(axis=1)):
            change = np.flatnonzero(np.diff(np.concatenate(([0], edge[line].view(np.int8), [0]))))
            for start, stop in zip(change[::2], change[1::2], strict=True):
                at, along = line * scale, (start - 1) * scale
                x, y = (along, at) if command == "h" else (at, along)
                path.append(f"M{x:.1f} {y:.1f}{command}{(stop - start) * scale:.1f}")
    return "".join(path)


def png(image: np.ndarray) -> str:
    """A data URI of a grey image, (height, width) uint8, or one in colour, (height, width, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def raster(arrays: dict[str, np.ndarray], layers: list[str], n_steps: int) -> tuple[str, str]:
    """The spikes of one inference: every row a neuron, every mark a spike. Returns the SVG and its alternative.

    Of a layer where more than `RASTER_NEURONS` neurons spiked that many are drawn, evenly spaced among those.
    """
    width, left, row = RASTER_WIDTH, 84, 2.4
    step_width = (width - left - 12) / n_steps
    parts, said, y = [], [], 8.0
    for index, name in enumerate(layers):
        n = int(arrays[f"{name}/n_neurons"])
        steps, neurons = arrays[f"{name}/step"], arrays[f"{name}/neuron"]
        active = np.unique(neurons)
        shown = active[np.unique(np.linspace(0, len(active) - 1, min(len(active), RASTER_NEURONS)).round().astype(int))]
        rank = np.full(n, -1)
        rank[shown] = np.arange(len(shown))
        drawn = rank[neurons] >= 0
        marks = "".join(
            f"M{left + s * step_width:.1f} {y + (r + 0.5) * row:.1f}h{max(step_width - 0.4, 1):.1f}"
            for s, r in zip(steps[drawn], rank[neurons[drawn]], strict=True)
        )
        height = len(shown) * row
        middle = y + height / 2
        parts.append(f'<rect class="empty" x="{left}" y="{y:.1f}" width="{width - left - 12}" height="{height:.1f}"/>')
        parts.append(
            f'<path class="spikes k{index % 12}" stroke-width="{row * 0.8:.1f}" d="{marks}"/>' if marks else ""
        )
        parts.append(f'<text class="end" x="{left - 8}" y="{middle + 1:.1f}">{escape(name)}</text>')
        of = f"{len(shown)} of {len(active):,}" if len(shown) < len(active) else f"all {len(active):,}"
        parts.append(f'<text class="soft end" x="{left - 8}" y="{middle + 15:.1f}">{of}</text>')
        said.append(f"{name} {text.plural(len(steps), 'spike')} of {len(active):,} among {n:,} neurons")
        y += max(height, 30) + 8
    for step in range(0, n_steps + 1, max(1, 10 * (n_steps // 100 or 1))):
        x = left + step * step_width
        parts.append(f'<path class="axis" d="M{x:.1f} {y - 4:.1f}v4"/>')
        parts.append(f'<text class="soft mid" x="{x:.1f}" y="{y + 14:.1f}">{step}</text>')
    parts.append(f'<text class="mid" x="{(left + width) / 2:.0f}" y="{y + 32:.1f}">step</text>')
    alt = "Spikes of one inference over time, by layer: " + ", ".join(said) + "."
    return document(width, y + 40, parts, alt), alt
