"""Charts as SVG text. Colours come from CSS classes, so that a chart follows the page into dark mode and print.

Drawings are 380 units wide: shown at their own size in a narrow window, side by side in a wide one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH = 380
SMALL = 260  # of the many small ones, one a layer
FULL = 560  # of those that fill the window
DIGIT = 6.7  # units that a character of an axis takes, at most


@dataclass(frozen=True)
class Series:
    """A line or a set of points; `css` gives colour, `style` is "", "dash" or "dot" of the line."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    css: str
    style: str = ""
    mark: str = "circle"


def document(width: float, height: float, parts: list[str], alt: str) -> str:
    """An <svg> with a text alternative."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(alt)}">'
        f"<title>{escape(alt)}</title>{''.join(parts)}</svg>"
    )


def ticks(low: float, high: float, n: int = 5, whole: bool = False) -> list[float]:
    """About `n` round numbers in [low, high]; only integers if `whole`."""
    if not high > low:
        return [low]
    raw = (high - low) / n
    power = 10.0 ** math.floor(math.log10(raw))
    steps = (m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    step = next(s for s in steps if not whole or s == int(s)) if not whole or raw > 1 else 1.0
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def label_number(value: float) -> str:
    """An axis number: 1,500 as 1.5k, 0.25 as 0.25."""
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:g}{suffix}".replace("-", "−")
    return f"{value:.4g}".replace("-", "−")


class Axes:
    """A plot area with linear or logarithmic axes, gridlines and labels."""

    def __init__(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        *,
        width: float = WIDTH,
        height: float = 240,
        left: float = 52,
        right: float = 14,
        top: float = 14,
        bottom: float = 40,
        log_x: bool = False,
        log_y: bool = False,
    ) -> None:
        self.log_x, self.log_y = log_x, log_y
        self.x0, self.x1 = _widen(*x, log_x)
        self.y0, self.y1 = _widen(*y, log_y)
        self.width, self.height = width, height
        self.left, self.right, self.top, self.bottom = left, width - right, top, height - bottom
        self.parts: list[str] = []

    def px(self, x: float) -> float:
        return self.left + (self.right - self.left) * _share(x, self.x0, self.x1, self.log_x)

    def py(self, y: float) -> float:
        return self.bottom - (self.bottom - self.top) * _share(y, self.y0, self.y1, self.log_y)

    def frame(self, x_label: str, y_label: str, whole_x: bool = False, whole_y: bool = False) -> None:
        """Gridlines, ticks and labels; the plot area shrinks where the labels on its left are long."""
        y_ticks = _ticks(self.y0, self.y1, self.log_y, whole_y)
        self.left = max(self.left, 28 + DIGIT * max(len(label_number(v)) for v in y_ticks))
        for v in y_ticks:
            y = self.py(v)
            self.parts.append(f'<path class="grid" d="M{self.left:.1f} {y:.1f}H{self.right}"/>')
            self.parts.append(
                f'<text class="soft end" x="{self.left - 6:.1f}" y="{y + 4:.1f}">{label_number(v)}</text>'
            )
        self.x_ticks(_ticks(self.x0, self.x1, self.log_x, whole_x))
        self.parts.append(f'<path class="axis" d="M{self.left:.1f} {self.bottom}H{self.right}"/>')
        middle = (self.left + self.right) / 2
        self.parts.append(f'<text class="mid" x="{middle:.1f}" y="{self.height - 6}">{escape(x_label)}</text>')
        y = (self.top + self.bottom) / 2
        self.parts.append(f'<text class="mid" transform="translate(12 {y:.1f}) rotate(-90)">{escape(y_label)}</text>')

    def x_ticks(self, values: list[float], grid: bool = False) -> None:
        """Ticks below the plot, or gridlines; a number that would touch the one before it is left out."""
        free = -math.inf
        for v in values:
            x, shown = self.px(v), label_number(v)
            path = f"M{x:.1f} {self.top}V{self.bottom}" if grid else f"M{x:.1f} {self.bottom}v4"
            self.parts.append(f'<path class="{"grid" if grid else "axis"}" d="{path}"/>')
            half = DIGIT * len(shown) / 2
            if x - half > free and x + half <= self.width + 4:
                self.parts.append(f'<text class="soft mid" x="{x:.1f}" y="{self.bottom + 17}">{shown}</text>')
                free = x + half + 5

    def line(self, series: Series, marks: bool = True) -> None:
        spots = [
            (self.px(x), self.py(y))
            for x, y in zip(series.x, series.y, strict=True)
            if y is not None and math.isfinite(y) and (x > 0 or not self.log_x)
        ]
        if len(spots) > 1:
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y in spots)
            self.parts.append(f'<path class="line {series.css} {series.style}" d="M{path}"/>')
        if marks or len(spots) == 1:
            self.parts.extend(mark(x, y, series.css, series.mark) for x, y in spots)

    def levels(self, levels: Sequence[tuple[float, str, str]]) -> None:
        """Horizontal reference lines (y, css, label) with their names, which are written one above the other."""
        free = math.inf
        for y, css, label in sorted(levels):  # from the lowest up
            at = self.py(y)
            self.parts.append(f'<path class="line dot {css}" d="M{self.left:.1f} {at:.1f}H{self.right}"/>')
            free = min(at - 4, free - 14)
            self.parts.append(f'<text class="soft" x="{self.left + 5:.1f}" y="{free:.1f}">{escape(label)}</text>')

    def text(self, x: float, y: float, text: str, css: str = "soft", dx: float = 7, dy: float = 4) -> None:
        self.parts.append(
            f'<text class="{css}" x="{self.px(x) + dx:.1f}" y="{self.py(y) + dy:.1f}">{escape(text)}</text>'
        )

    def done(self, alt: str) -> str:
        return document(self.width, self.height, self.parts, alt)


def mark(x: float, y: float, css: str, shape: str = "circle", size: float = 4) -> str:
    """A point: shapes differ so that colour is not needed to tell series apart; "hollow-" leaves it open."""
    hollow = " hollow" if shape.startswith("hollow-") else ""
    name = shape.removeprefix("hollow-")
    if name == "circle":
        return f'<circle class="mark {css}{hollow}" cx="{x:.1f}" cy="{y:.1f}" r="{size:g}"/>'
    s, d = size * 1.15, size * 1.3
    paths = {
        "square": f"M{x - size:.1f} {y - size:.1f}h{2 * size:g}v{2 * size:g}h{-2 * size:g}z",
        "diamond": f"M{x:.1f} {y - d:.1f}l{d:g} {d:g}l{-d:g} {d:g}l{-d:g} {-d:g}z",
        "triangle": f"M{x:.1f} {y - s:.1f}l{s:g} {2 * s:g}h{-2 * s:g}z",
        "star": f"M{x:.1f} {y - d:.1f}v{2 * d:g}M{x - d:.1f} {y:.1f}h{2 * d:g}M{x - s / 1.5:.1f} {y - s / 1.5:.1f}"
        f"l{s / 0.75:g} {s / 0.75:g}M{x - s / 1.5:.1f} {y + s / 1.5:.1f}l{s / 0.75:g} {-s / 0.75:g}",
        "cross": f"M{x - s:.1f} {y - s:.1f}l{2 * s:g} {2 * s:g}M{x - s:.1f} {y + s:.1f}l{2 * s:g} {-2 * s:g}",
    }
    return f'<path class="mark {css}{hollow}" d="{paths[name]}"/>'


def lines(
    series: list[Series],
    x_label: str,
    y_label: str,
    alt: str,
    *,
    log_x: bool = False,
    levels: Sequence[tuple[float, str, str]] = (),
    marks: bool = True,
    whole_x: bool = False,
) -> str:
    """A line chart. `levels` are (y, css, label); `whole_x` marks integers only."""
    xs = [x for s in series for x in s.x if x > 0 or not log_x]
    ys = [y for s in series for y in s.y if y is not None and math.isfinite(y)] + [v[0] for v in levels]
    axes = Axes((min(xs), max(xs)), (min(ys), max(ys)), log_x=log_x)
    axes.frame(x_label, y_label, whole_x)
    axes.levels(levels)
    for one in series:
        axes.line(one, marks)
    return axes.done(alt)


@dataclass(frozen=True)
class Dot:
    """A value on a line of `dots`, with its interval."""

    value: float
    css: str
    mark: str = "circle"
    ci95: Sequence[float] | None = None


@dataclass(frozen=True)
class Dots:
    """A line of `dots`: its name and what stands on it."""

    name: str
    dots: list[Dot]


def dots(lines: list[Dots], x_label: str, alt: str, width: float = WIDTH, most_letters: int = 15) -> str:
    """One line a name, and on it marks at their values, with intervals."""
    spread = [v for line in lines for dot in line.dots for v in (dot.value, *(dot.ci95 or ()))]
    row = 30 if len(lines) < 10 else 24
    height = row * len(lines) + 56
    left = 20 + DIGIT * min(max(len(line.name) for line in lines), most_letters)
    axes = Axes((min(spread), max(spread)), (0, 1), width=width, height=height, left=left, top=8, bottom=44)
    axes.x_ticks(ticks(axes.x0, axes.x1, 6 if width == WIDTH else 8), grid=True)
    for i, line in enumerate(lines):
        y = axes.top + row / 2 + row * i
        shown = line.name if len(line.name) <= most_letters else line.name[: most_letters - 1] + "…"
        name = f"<title>{escape(line.name)}</title>{escape(shown)}"
        axes.parts.append(f'<text class="end" x="{left - 10:.1f}" y="{y + 4:.1f}">{name}</text>')
        if width != WIDTH:
            axes.parts.append(f'<path class="grid" d="M{left:.1f} {y:.1f}H{axes.right}"/>')
        for dot in line.dots:
            if dot.ci95:
                low, high = (axes.px(v) for v in dot.ci95)
                ends = f"M{low:.1f} {y:.1f}H{high:.1f}M{low:.1f} {y - 5:.1f}v10M{high:.1f} {y - 5:.1f}v10"
                axes.parts.append(f'<path class="line {dot.css}" d="{ends}"/>')
            axes.parts.append(mark(axes.px(dot.value), y, dot.css, dot.mark))
    axes.parts.append(f'<text class="mid" x="{(left + axes.right) / 2:.0f}" y="{height - 8}">{escape(x_label)}</text>')
    return axes.done(alt)


def bars(
    names: list[str],
    groups: list[tuple[str, list[list[tuple[str, float]]]]],
    x_label: str,
    alt: str,
    values: bool = False,
) -> str:
    """Horizontal bars: per name one bar for each group, each bar a stack of (css, value).

    Parameters
    ----------
    names : list of str
        One per row.
    groups : list of (label, stacks)
        `stacks` has one list of (css class, value) per name.
    values : bool
        Write each bar's sum behind it.
    """
    thick = 13 if len(groups) == 1 else 9
    row = len(groups) * (thick + 1) + 8
    height = len(names) * row + 58
    longest = max((sum(v for _, v in stack) for _, stacks in groups for stack in stacks), default=0) or 1.0
    left = 16 + 7.0 * min(max(map(len, names), default=4), 16)
    axes = Axes((0, longest), (0, 1), height=height, left=left, right=60 if values else 22, top=6, bottom=44)
    axes.x_ticks(ticks(0, longest, 4), grid=True)
    for i, name in enumerate(names):
        y = axes.top + 4 + i * row
        axes.parts.append(f'<text class="end" x="{left - 6:.0f}" y="{y + row / 2:.1f}">{escape(name)}</text>')
        for _, stacks in groups:
            x = 0.0
            for css, value in stacks[i]:
                a, b = axes.px(x), axes.px(x + value)
                axes.parts.append(
                    f'<rect class="fill {css}" x="{a:.1f}" y="{y:.1f}" width="{b - a:.1f}" height="{thick}"/>'
                )
                x += value
            if values:
                at = f'x="{axes.px(x) + 6:.1f}" y="{y + thick - 2:.1f}"'
                axes.parts.append(f'<text class="soft" {at}>{x:,g}</text>')
            y += thick + 1
    axes.parts.append(f'<path class="axis" d="M{left:.1f} {axes.top}V{axes.bottom}"/>')
    middle = (axes.left + axes.right) / 2
    axes.parts.append(f'<text class="mid" x="{middle:.1f}" y="{height - 8}">{escape(x_label)}</text>')
    return axes.done(alt)


def density(
    x: np.ndarray, y: np.ndarray, x_label: str, y_label: str, title: str, alt: str, css: str, n_bins: int = 40
) -> str:
    """Points as counts per cell, darker for more, with the diagonal of equality. Every point is in."""
    top = float(max(x.max(initial=0), y.max(initial=0))) or 1.0
    counts, edges, _ = np.histogram2d(x, y, bins=n_bins, range=((0, top), (0, top)))
    axes = Axes((0, top), (0, top), width=SMALL, height=270, left=46, right=10, top=36, bottom=42)
    axes.frame(x_label, y_label)
    for i, line in enumerate(title.split("\n")):
        axes.parts.append(
            f'<text class="{"soft" if i else "name"}" x="{axes.left}" y="{13 + 15 * i}">{escape(line)}</text>'
        )
    side_x = (axes.right - axes.left) / n_bins * top / (axes.x1 - axes.x0)
    side_y = (axes.bottom - axes.top) / n_bins * top / (axes.y1 - axes.y0)
    scale = math.log1p(counts.max()) or 1.0
    cells: dict[int, list[str]] = {}  # by opacity in tenths: one path for all cells of a shade
    for i, j in zip(*np.nonzero(counts), strict=True):
        shade = round(10 * (0.25 + 0.75 * math.log1p(counts[i, j]) / scale))
        at = f"M{axes.px(edges[i]):.1f} {axes.py(edges[j]):.1f}"
        cells.setdefault(shade, []).append(f"{at}v{-side_y:.1f}h{side_x:.1f}v{side_y:.1f}z")
    for shade, paths in sorted(cells.items()):
        axes.parts.append(f'<path class="cell {css}" opacity="{shade / 10:g}" d="{"".join(paths)}"/>')
    axes.parts.append(
        f'<path class="axis dash" d="M{axes.px(0):.1f} {axes.py(0):.1f}L{axes.px(top):.1f} {axes.py(top):.1f}"/>'
    )
    return axes.done(alt)


def _widen(low: float, high: float, log: bool) -> tuple[float, float]:
    if log:
        return (low / 1.1, high * 1.1) if high > low else (low / 2, high * 2)
    pad = 0.04 * (high - low) if high > low else max(abs(high) * 0.05, 0.5)
    return (low if low == 0 else low - pad), high + pad


def _share(value: float, low: float, high: float, log: bool) -> float:
    if log:
        return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
    return (value - low) / (high - low)


def _ticks(low: float, high: float, log: bool, whole: bool = False) -> list[float]:
    if not log:
        return ticks(low, high, whole=whole)
    found = [
        m * 10.0**e
        for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for m in ((1, 2, 5) if high / low < 200 else (1,))
    ]
    return [v for v in found if low <= v <= high] or [low, high]
