"""The report's pictures, drawn with matplotlib's Agg canvas and no global state.

Images stand on a dark sheet, like on a light box, in both themes of the page. Plots are drawn once per theme.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

SHEET = "#0e1116"
SHEET_TEXT = "#d7dce3"
CT_COLOUR = {"light": "#b3500b", "dark": "#f2a154"}
MR_COLOUR = {"light": "#0b62b3", "dark": "#6cb6ff"}
INK = {"light": "#24292f", "dark": "#d7dce3"}
_RULE = {"light": "#d0d7de", "dark": "#3a424d"}
DPI = 110
WIDTH_IN = 12.0
_PAD_IN = 0.06
_TITLE_IN = 0.34
_NOTE_IN = 0.24
_STRETCHED = 0.75

SIGNED = LinearSegmentedColormap.from_list("signed", ["#9be1ff", "#2a87c8", SHEET, "#cf6a1e", "#ffd09b"])
"""Differences: blue below zero, the sheet's colour at zero, orange above."""

LAMBDA = LinearSegmentedColormap.from_list("lambda", ["#f2a154", "#8f6f9e", "#3f8fe0"])
"""Lambda: the CT's orange at 0, the MR's blue at 1."""


@dataclass(frozen=True)
class Panel:
    """One picture of a row.

    image: 2-D, or (rows, columns, 3) in colour. extent: width and height in mm. note: a line below.
    stretch: fill the cell, whatever the extent. outline: a picture whose level `outline_level` is drawn as a line.
    """

    title: str
    image: np.ndarray
    extent: tuple[float, float]
    low: float = 0.0
    high: float = 1.0
    colours: Any = "gray"
    note: str = ""
    stretch: bool = False
    outline: np.ndarray | None = None
    outline_level: float = 0.5


def panel_row(panels: Sequence[Panel], bar: str = "", columns: int | None = None) -> bytes:
    """PNG of pictures side by side, `columns` in a row, all sheets of one width.

    bar: label of a colour bar, for the scale of the last panel that is in colour; "" for none.
    """
    columns = min(columns or len(panels), len(panels))
    rows = -(-len(panels) // columns)
    bar_width = 0.8 if bar else 0.0
    cell = (WIDTH_IN - bar_width) / max(columns, 3)
    left = (WIDTH_IN - bar_width - columns * cell) / 2
    tall = cell * max(_STRETCHED if p.stretch else p.extent[1] / p.extent[0] for p in panels)
    step = tall + _TITLE_IN + (_NOTE_IN if any(p.note for p in panels) else 0.0)
    height = rows * step + _PAD_IN
    figure = Figure(figsize=(WIDTH_IN, height), dpi=DPI, facecolor=SHEET)
    FigureCanvasAgg(figure)
    scale = None
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        bottom = height - row * step - _TITLE_IN - tall
        x, wide = left + column * cell + _PAD_IN, cell - 2 * _PAD_IN
        axes = figure.add_axes((x / WIDTH_IN, bottom / height, wide / WIDTH_IN, tall / height))
        drawn = _draw(axes, panel)
        scale = drawn if panel.colours != "gray" else scale
    if bar and scale is not None:
        x = (left + columns * cell + 0.04) / WIDTH_IN
        place = figure.add_axes((x, 0.14, 0.14 / WIDTH_IN, 0.7))
        colour_bar = figure.colorbar(scale, cax=place)
        colour_bar.set_label(bar, color=SHEET_TEXT, fontsize=9)
        colour_bar.outline.set_edgecolor("#3a424d")
        place.tick_params(colors=SHEET_TEXT, labelsize=8)
    return as_png(figure)


def _draw(axes: Any, panel: Panel) -> Any:
    """Draw one panel; returns what a colour bar needs."""
    extent = (0, panel.extent[0], panel.extent[1], 0)
    axes.set_axis_off()
    drawn = axes.imshow(
        panel.image,
        cmap=panel.colours,
        vmin=panel.low,
        vmax=panel.high,
        extent=extent,
        aspect="auto" if panel.stretch else "equal",
        interpolation="antialiased",
    )
    if panel.outline is not None:
        axes.contour(
            panel.outline, levels=[panel.outline_level], colors=["#f2a154"], linewidths=0.9, extent=extent,
            origin="upper",
        )  # fmt: skip
    axes.set_title(panel.title, color=SHEET_TEXT, fontsize=10.5, pad=4)
    if panel.note:
        axes.text(
            0.5, -0.02, panel.note, color="#98a2b0", fontsize=8.5, ha="center", va="top", transform=axes.transAxes
        )  # fmt: skip
    return drawn


def painted_over(image: np.ndarray, paint: np.ndarray, strength: float = 0.6) -> np.ndarray:
    """`image` in grey with the lambda map `paint` laid over it in colour; (rows, columns, 3)."""
    grey = np.repeat(np.clip(image, 0, 1)[..., None], 3, axis=2)
    colour = LAMBDA(np.clip(paint, 0, 1))[..., :3]
    return (1 - strength) * grey + strength * colour * (0.3 + 0.7 * np.sqrt(grey))


def checkerboard(first: np.ndarray, second: np.ndarray, fields: int = 8) -> np.ndarray:
    """Fields of `first` and `second` in turn, to see whether edges run on from one into the other."""
    rows, columns = first.shape
    size = max(rows, columns) / fields
    odd = (np.arange(rows)[:, None] // size + np.arange(columns)[None, :] // size) % 2 > 0
    return np.where(odd, second, first)


METRICS = (
    ("mae", "MAE", "lower is nearer"),
    ("psnr", "PSNR [dB]", "higher is nearer"),
    ("ssim", "SSIM", "higher is nearer"),
    ("mi", "MI", "higher shares more"),
)
"""Key in the rows, name, and how to read it, of each metric over lambda."""


def metric_plots(rows: Iterable[Mapping[str, Any]], theme: str) -> bytes:
    """PNG of the metrics over lambda against CT and MR, the sensor images as dashed levels."""
    rows = [row for row in rows if row["kind"] != "map"]
    figure = Figure(figsize=(WIDTH_IN, 3.1), dpi=DPI)
    FigureCanvasAgg(figure)
    figure.patch.set_alpha(0.0)
    for number, (key, name, reading) in enumerate(METRICS):
        axes = figure.add_subplot(1, 4, number + 1)
        for target, colour in (("ct", CT_COLOUR[theme]), ("mr", MR_COLOUR[theme])):
            found = [(row["lambda"], row[f"{key}_{target}"]) for row in rows if row.get(f"{key}_{target}") is not None]
            line = sorted(point for point in found if point[0] is not None)
            if line:
                axes.plot(*zip(*line, strict=True), "o-", color=colour, ms=4.5, lw=1.8)
            for lam, level in found:
                if lam is None:  # a sensor image
                    axes.axhline(level, color=colour, lw=1.2, ls=(0, (4, 3)), alpha=0.8)
        axes.set_title(name, color=INK[theme], fontsize=11)
        axes.set_xlabel(f"lambda\n{reading}", color=INK[theme], fontsize=8.5)
        plain_axes(axes, theme)
    figure.subplots_adjust(left=0.045, right=0.99, top=0.9, bottom=0.24, wspace=0.26)
    return as_png(figure)


def histogram_plots(names: Sequence[str], shares: Sequence[np.ndarray], centres: np.ndarray, theme: str) -> bytes:
    """PNG of histograms side by side, one plot per name. shares: a line each, (len(names), bins), over `centres`."""
    figure = Figure(figsize=(WIDTH_IN, 3.1), dpi=DPI)
    FigureCanvasAgg(figure)
    figure.patch.set_alpha(0.0)
    colours = (CT_COLOUR[theme], MR_COLOUR[theme])
    for number, name in enumerate(names):
        axes = figure.add_subplot(1, max(len(names), 2), number + 1)
        for line in shares:
            faint = max(0.15, 0.9 / max(len(shares), 1) ** 0.5)
            axes.plot(centres, line[number], color=colours[min(number, 1)], lw=1.3, alpha=faint)
        axes.set_yscale("log")
        axes.set_title(name, color=INK[theme], fontsize=11)
        axes.set_xlabel("value, as the network sees it", color=INK[theme], fontsize=8.5)
        plain_axes(axes, theme)
    axes = figure.axes[0]
    axes.set_ylabel("share of pixels", color=INK[theme], fontsize=8.5)
    figure.subplots_adjust(left=0.06, right=0.99, top=0.9, bottom=0.17, wspace=0.2)
    return as_png(figure)


def plain_axes(axes: Any, theme: str) -> None:
    """Axes in the theme's colours, with a light grid and no box."""
    axes.set_facecolor("none")
    axes.tick_params(colors=INK[theme], labelsize=8, which="both")
    axes.grid(color=_RULE[theme], lw=0.6, alpha=0.6)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_RULE[theme])


def as_png(figure: Figure) -> bytes:
    """The figure as PNG, the same bytes each time."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
