"""The page about a lambda map that was found: the map over the image, the objective's curve, the constants."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from MSLFusionLib import __version__
from MSLFusionLib.report import page, trust
from MSLFusionLib.report.data import Viewer

if TYPE_CHECKING:
    from MSLFusionLib.recon.optimise import SliceOptimum

_HOW = (
    "Each slice's map maximises the objective minus alpha times the map's total variation, from the best constant "
    "lambda on; it never ends below that. Values of different objectives cannot be compared. Hybrids are those of "
    "the volume, with data consistency where it is on; the images of lambda 0 and 1 are the network's, not the truth.",
    "Where a map stays near one lambda, the objective prefers that modality nearly everywhere: mutual information "
    "counts most what has the richest histogram, which an MR usually has.",
)


@dataclass(frozen=True)
class OptimisedData:
    """What the page shows. record: of run.json. images: hybrids of constant lambdas, `constant` among them; all
    volumes lie on one grid, slices across array axis `slice_axis`."""

    record: Mapping[str, Any]
    slices: "Sequence[SliceOptimum]"
    lambda_map: sitk.Image
    hybrid: sitk.Image
    images: Mapping[float, sitk.Image]
    constant: float
    slice_axis: int


def write_optimised(path: Path, data: OptimisedData) -> None:
    """Write the page to `path`. It refers to nothing outside itself."""
    shown = data.slices[len(data.slices) // 2]
    view = _viewer(data, shown.number)
    parameters = data.record["parameters"]
    gained = float(np.mean([one.value - one.best_constant[1] for one in data.slices]))
    facts = [
        (str(parameters["objective"]), "objective"),
        (f"{np.mean([one.value for one in data.slices]):.4f}", "of the maps, mean over slices"),
        (f"+{gained:.4f}", "above the best constant of each slice"),
        (f"{len(data.slices)}", "slices"),
    ]
    body = [page.facts(facts), *(page.paragraph(sentence) for sentence in trust.warnings(data.record))]
    body.append(page.section("The map", page.picture(_pictures(data, view), _caption(data, view))))
    plots = page.picture(_plots(data.slices, "light"), _CURVES, _plots(data.slices, "dark"))
    body.append(page.section("Maps against constants", plots, _table(data.slices)))
    body.append(page.section("How to read this", *(page.paragraph(sentence) for sentence in _HOW)))
    body.append(page.section("Settings", page.words(parameters)))
    started = str(data.record.get("started", "")).replace("T", " ").replace("+00:00", " UTC")
    subtitle = "  ·  ".join([started, "mslfusion optimize-lambda", str(data.record.get("device"))])
    foot = f"MSLFusion {__version__}. For research, not for diagnosis."
    path.write_text(page.page("A lambda map found", subtitle, "\n".join(body), foot), encoding="utf-8")


_CURVES = (
    "Left: the objective of constant lambdas, each line a slice, a dot at the best. Right: what the map gains over the "
    "best constant with each evaluation."
)


def _viewer(data: OptimisedData, number: int) -> Viewer:
    focus = [(n - 1) // 2 for n in data.hybrid.GetSize()]
    focus[2 - data.slice_axis] = number
    return Viewer(data.hybrid, data.slice_axis, (focus[0], focus[1], focus[2]))


def _caption(data: OptimisedData, view: Viewer) -> str:
    values = view.cut(data.lambda_map)
    return (
        f"{view.plane_name.capitalize()} slice {view.position}: the map over the hybrid and alone, orange where the CT "
        f"is asked for, blue where the MR is (here {values.min():.2f} to {values.max():.2f}); the hybrid that follows "
        "it; then hybrids of constant lambdas."
    )


def _pictures(data: OptimisedData, view: Viewer) -> bytes:
    from MSLFusionLib.report import figures

    extent, paint, hybrid = view.extent(), view.cut(data.lambda_map), view.cut(data.hybrid)
    panels = [
        figures.Panel("the map over the hybrid", figures.painted_over(hybrid, paint), extent),
        figures.Panel("the map", paint, extent, colours=figures.LAMBDA),
        figures.Panel("the hybrid", hybrid, extent),
    ]
    for lam, image in data.images.items():
        name = f"lambda {lam:g}" + (" (best constant)" if lam == data.constant else "")
        panels.append(figures.Panel(name, view.cut(image), extent))
    return figures.panel_row(panels, bar="lambda", columns=3)


def _plots(slices: "Sequence[SliceOptimum]", theme: str) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from MSLFusionLib.report import figures

    figure = Figure(figsize=(figures.WIDTH_IN, 3.4), dpi=figures.DPI)
    FigureCanvasAgg(figure)
    figure.patch.set_alpha(0.0)
    faint = max(0.25, 0.95 / len(slices) ** 0.5)
    constants, curves = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
    for one in slices:
        constants.plot(*zip(*one.constants, strict=True), color=figures.CT_COLOUR[theme], lw=1.4, alpha=faint)
        constants.plot(*one.best_constant, "o", color=figures.CT_COLOUR[theme], ms=4)
        gained = np.array(one.curve) - one.best_constant[1]
        curves.plot(np.arange(len(gained)), gained, color=figures.MR_COLOUR[theme], lw=1.4, alpha=faint)
    for axes, title, label in (
        (constants, "Constant lambdas", "lambda"),
        (curves, "Gain of the map over the best constant", "evaluations"),
    ):
        axes.set_title(title, color=figures.INK[theme], fontsize=11)
        axes.set_xlabel(label, color=figures.INK[theme], fontsize=8.5)
        figures.plain_axes(axes, theme)
    figure.subplots_adjust(left=0.06, right=0.99, top=0.9, bottom=0.16, wspace=0.2)
    return figures.as_png(figure)


def _table(slices: "Sequence[SliceOptimum]") -> str:
    head = ["slice", "best constant", "its value", "map", "gain", "variation", "evaluations"]
    rows = [
        [
            str(one.number), f"{one.best_constant[0]:g}", f"{one.best_constant[1]:.5f}", f"{one.value:.5f}",
            f"{one.value - one.best_constant[1]:.5f}", f"{one.variation:.3f}", str(len(one.curve) - 1),
        ]
        for one in slices
    ]  # fmt: skip
    return page.table(head, rows)
