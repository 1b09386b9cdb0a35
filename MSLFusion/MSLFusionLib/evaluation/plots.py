"""The plots of an evaluation: figures over lambda, and over the slices of a volume."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from MSLFusionLib.report.figures import CT_COLOUR, DPI, INK, MR_COLOUR, WIDTH_IN, as_png, plain_axes

TITLES = {
    "mae": ("MAE", "lower is nearer"),
    "psnr": ("PSNR [dB]", "higher is nearer"),
    "ssim": ("SSIM", "higher is nearer"),
    "mi": ("MI [nats]", "higher shares more"),
    "nmi": ("NMI", "1 to 2, higher shares more"),
}
_STYLES = ("-", "--", ":", "-.")
_MARKERS = "os^Dv"
_COLOURS = {"ct": CT_COLOUR, "mr": MR_COLOUR}


def over_lambda(rows: Sequence[Mapping[str, Any]], runs: Sequence[str], theme: str) -> bytes:
    """PNG of each figure over lambda; a line for each run (its style) and target (its colour).

    rows: of volumes, of one region; those of several volumes of a run are averaged.
    """
    figure = _figure(3.4, theme)
    for number, key in enumerate(TITLES):
        axes = figure.add_subplot(1, len(TITLES), number + 1)
        for place, run in enumerate(runs):
            for target, colours in _COLOURS.items():
                line = _means(rows, run, target, key)
                if line:
                    axes.plot(*zip(*line, strict=True), _STYLES[place % 4], marker=_MARKERS[place % 5],
                              color=colours[theme], ms=4, lw=1.6)  # fmt: skip
        _titled(axes, key, "lambda", theme)
    return _finished(figure, runs, theme)


def over_slices(
    rows: Sequence[Mapping[str, Any]], runs: Sequence[str], target: str, shown: Sequence[str], theme: str
) -> bytes:
    """PNG of MAE, PSNR, SSIM and NMI against one target over the slices of a volume.

    rows: of slices of one volume and region. shown: names of the images to draw; the last ones, of sensors, in grey.
    """
    keys = ("mae", "psnr", "ssim", "nmi")
    figure = _figure(3.2, theme)
    for number, key in enumerate(keys):
        axes = figure.add_subplot(1, len(keys), number + 1)
        for place, run in enumerate(runs):
            for image in shown:
                line = sorted(
                    (row["slice"], row[key])
                    for row in rows
                    if row["run"] == run and row["image"] == image and row["target"] == target and row[key] is not None
                )
                if line:
                    colour = _COLOURS[target][theme] if image.startswith("lambda ") else "#8a939d"
                    axes.plot(*zip(*line, strict=True), _STYLES[place % 4], color=colour, lw=1.5)
        _titled(axes, key, "slice", theme)
    return _finished(figure, runs, theme)


def _means(rows: Sequence[Mapping[str, Any]], run: str, target: str, key: str) -> list[tuple[float, float]]:
    found: dict[float, list[float]] = {}
    for row in rows:
        if row["run"] == run and row["target"] == target and row["lambda"] is not None and row[key] is not None:
            found.setdefault(row["lambda"], []).append(row[key])
    return sorted((lam, sum(values) / len(values)) for lam, values in found.items())


def _figure(height: float, theme: str) -> Figure:
    figure = Figure(figsize=(WIDTH_IN, height), dpi=DPI)
    FigureCanvasAgg(figure)
    figure.patch.set_alpha(0.0)
    return figure


def _titled(axes: Any, key: str, along: str, theme: str) -> None:
    name, reading = TITLES[key]
    axes.set_title(name, color=INK[theme], fontsize=11)
    axes.set_xlabel(f"{along}\n{reading}", color=INK[theme], fontsize=8.5)
    plain_axes(axes, theme)


def _finished(figure: Figure, runs: Sequence[str], theme: str) -> bytes:
    if len(runs) > 1:
        from matplotlib.lines import Line2D

        lines = [Line2D([], [], color=INK[theme], ls=_STYLES[n % 4], marker=_MARKERS[n % 5], ms=4)
                 for n in range(len(runs))]  # fmt: skip
        figure.legend(lines, list(runs), loc="lower center", ncols=min(len(runs), 6), frameon=False,
                      labelcolor=INK[theme], fontsize=8.5)  # fmt: skip
    figure.subplots_adjust(left=0.05, right=0.99, top=0.9, bottom=0.33 if len(runs) > 1 else 0.24, wspace=0.32)
    return as_png(figure)
