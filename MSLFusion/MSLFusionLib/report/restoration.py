"""The page of a restored contrast: what the scanner gives, what the network makes of it, the truth, and figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from MSLFusionLib import __version__
from MSLFusionLib.recon.restore import (
    BICUBIC,
    RESTORED,
    SUPER_RESOLVED,
    TOTAL_VARIATION,
    TRUTH,
    TRUTH_LOW,
    TV_BICUBIC,
    ZERO_FILLED,
)
from MSLFusionLib.recon.restore_measure import CONVENTION
from MSLFusionLib.report import page
from MSLFusionLib.report.data import Viewer, focus_of
from MSLFusionLib.restoring import Restoration

_LOW = (ZERO_FILLED, TOTAL_VARIATION, RESTORED, TRUTH_LOW)
_FINE = (BICUBIC, TV_BICUBIC, SUPER_RESOLVED, TRUTH)
_TITLES = {
    ZERO_FILLED: "zero-filled",
    TOTAL_VARIATION: "total variation",
    RESTORED: "restored",
    TRUTH_LOW: "truth",
    BICUBIC: "zero-filled + bicubic",
    TV_BICUBIC: "total variation + bicubic",
    SUPER_RESOLVED: "super-resolved",
    TRUTH: "truth",
}
_METHODS = {
    "zero-filled + bicubic": (ZERO_FILLED, BICUBIC),
    "total variation + bicubic": (TOTAL_VARIATION, TV_BICUBIC),
    "": (RESTORED, SUPER_RESOLVED),
}
"""Lines of the table, and their images at both resolutions; the network's has the model's name."""
_ZOOM = 0.4
_PERCENTILE = 99.5
_DIFFERENCE = 0.25
_PLANES = ((2, "Axial"), (1, "Coronal"), (0, "Sagittal"))
_CONSISTENT = (
    "Both images were corrected towards what was measured (data consistency): measured samples of k-space take the "
    "place of the network's, with weights from the noise; those of the super-resolved image are the centre of its "
    "k-space."
)
_NOT_CONSISTENT = "These are the network's own images: data consistency is off."
_HONEST = (
    "Detail beyond the measured k-space is what the network expects there, helped by the auxiliary; it may be wrong "
    "where the two contrasts differ. For research, not for diagnosis."
)


def write_restoration_report(
    path: Path, found: Restoration, record: Mapping[str, Any], card: Mapping[str, Any] | None = None
) -> None:
    """Write the page to `path`; it refers to nothing outside itself. record: the content of run.json."""
    pictures = restoration_figures(found)
    auxiliary, target = (str(name).upper() for name in found.restored.report["contrasts"])
    scale = found.restored.grids.scale
    body = [page.facts(_facts(found)), *(page.warning(sentence) for sentence in found.warnings)]
    for name, heading, caption in _captions(found, auxiliary):
        body.append(page.section(heading, page.picture(pictures[name], caption)))
    if found.metrics:
        model = str(record.get("parameters", {}).get("model", "network"))
        table = _table(found.metrics, model)
        body.append(page.section("Methods side by side", table, page.paragraph(CONVENTION, soft=True)))
    notes = [_CONSISTENT if found.restored.report["consistency"] else _NOT_CONSISTENT, _HONEST]
    body.append(page.section("How to read this", *map(page.paragraph, notes)))
    body += _provenance(record, card or {})
    sampling = found.restored.sampling["mr"]
    subtitle = (
        f"{target} from {100 * sampling['rate']:.0f} % of a coarse k-space, with {auxiliary} beside it; "
        f"{scale} times finer"
    )
    foot = f"MSLFusion {__version__}. For research, not for diagnosis."
    path.write_text(page.page(f"{target} restored", subtitle, "\n".join(body), foot), encoding="utf-8")


def restoration_figures(found: Restoration) -> dict[str, bytes]:
    """PNG pictures by name: "low" and "fine", the slices side by side, "detail", the middle of the fine ones, "planes",
    the super-resolved volume in three planes; where the truth is known also "low-error" and "fine-error"."""
    from MSLFusionLib.report import figures

    images, grids = found.restored.images, found.restored.grids
    reference = images.get(TRUTH, images[BICUBIC])
    grey = float(np.percentile(sitk.GetArrayViewFromImage(reference), _PERCENTILE)) or 1.0
    body = sitk.Cast(reference > 0.2 * grey, sitk.sitkUInt8)
    focus = focus_of(body)
    fine = Viewer(reference, grids.axes[0], focus)
    low = Viewer(images[ZERO_FILLED], grids.axes[0], _low_focus(reference, images[ZERO_FILLED], focus))
    lift = min(0.0, float(found.restored.report["scale"]["low"]))

    def panel(view: Viewer, kind: str, zoom: bool = False, title: str = "") -> Any:
        picture = (view.cut(images[kind]) - lift) / (grey - lift)
        return _panel(figures, title or _TITLES[kind], picture, view.extent(), zoom)

    def helper(zoom: bool = False) -> Any:
        values = sitk.GetArrayViewFromImage(found.auxiliary.image)
        bright = float(np.percentile(values, _PERCENTILE)) or 1.0
        return _panel(figures, "auxiliary", fine.cut(found.auxiliary.image) / bright, fine.extent(), zoom)

    def errors(view: Viewer, kinds: Sequence[str], truth: str) -> bytes:
        right = view.cut(images[truth])
        panels = [
            figures.Panel(
                f"{_TITLES[kind]} - truth", (view.cut(images[kind]) - right) / (grey - lift), view.extent(),
                -_DIFFERENCE, _DIFFERENCE, figures.SIGNED,
            )
            for kind in kinds
            if kind in images and kind != truth
        ]  # fmt: skip
        return figures.panel_row(panels, bar="share of white")

    shown = {
        "low": figures.panel_row([panel(low, kind) for kind in _LOW if kind in images]),
        "fine": figures.panel_row([*(panel(fine, kind) for kind in _FINE if kind in images), helper()]),
        "detail": figures.panel_row([*(panel(fine, kind, True) for kind in _FINE if kind in images), helper(True)]),
        "planes": figures.panel_row(
            [
                figures.Panel(
                    name,
                    (fine.cut(images[SUPER_RESOLVED], axis=axis) - lift) / (grey - lift),
                    fine.extent(axis),
                )
                for axis, name in _PLANES
            ]
        ),
    }
    if TRUTH in images:
        shown["low-error"] = errors(low, _LOW, TRUTH_LOW)
        shown["fine-error"] = errors(fine, _FINE, TRUTH)
    return shown


def _panel(figures: Any, title: str, picture: np.ndarray, extent: tuple[float, float], zoom: bool) -> Any:
    if not zoom:
        return figures.Panel(title, picture, extent)
    sides = [max(2, round(n * _ZOOM)) for n in picture.shape]
    starts = [(n - side) // 2 for n, side in zip(picture.shape, sides, strict=True)]
    part = picture[starts[0] : starts[0] + sides[0], starts[1] : starts[1] + sides[1]]
    return figures.Panel(title, part, (extent[0] * _ZOOM, extent[1] * _ZOOM))


def _low_focus(fine: sitk.Image, low: sitk.Image, focus: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
    """The same point in voxels of the low-resolution volume."""
    if focus is None:
        return None
    index = low.TransformPhysicalPointToContinuousIndex(fine.TransformIndexToPhysicalPoint(focus))
    i, j, k = (int(np.clip(round(at), 0, n - 1)) for at, n in zip(index, low.GetSize(), strict=True))
    return i, j, k


def _captions(found: Restoration, auxiliary: str) -> list[tuple[str, str, str]]:
    """Name, heading and caption of each picture, in the order of the page."""
    known = TRUTH in found.restored.images
    captions = [
        ("low", "Restored", "The same slice at the resolution of the measurement: from the sampled k-space alone, and "
         "by the network" + (", beside the truth of that resolution." if known else ".")),
        ("fine", "Super-resolved", "The same slice on the fine grid: enlarged by interpolation, and by the network"
         + (", beside the truth" if known else "") + f"; and the auxiliary ({auxiliary}) that helped."),
        ("detail", "Closer", "The middle of that slice, enlarged."),
    ]  # fmt: skip
    if known:
        share = f"{100 * _DIFFERENCE:.0f} % of white"
        captions += [
            ("low-error", "Where it is wrong, at the measured resolution",
             f"Image minus truth on one scale, up to {share}: blue is too dark, orange too bright."),
            ("fine-error", "Where it is wrong, on the fine grid", "The same on the fine grid."),
        ]  # fmt: skip
    return [*captions, ("planes", "Three planes", "The super-resolved volume; lines between slices are real.")]


def _facts(found: Restoration) -> list[tuple[str, str]]:
    sampling, grids = found.restored.sampling["mr"], found.restored.grids

    def grid(geometry: Any) -> str:
        size = " x ".join(map(str, geometry.size))
        return f"{size}, {' x '.join(f'{mm:.3g}' for mm in geometry.spacing)} mm"

    facts = [
        (f"{sampling['columns']} of {sampling['of']}",
         f"columns of k-space measured (1/{sampling['acceleration']:.2f})"),
        (f"x {grids.scale}", f"from {grid(grids.low)} to {grid(grids.fine)}"),
    ]  # fmt: skip
    rows = {row["image"]: row for row in found.metrics}
    for kind, plain in ((RESTORED, ZERO_FILLED), (SUPER_RESOLVED, BICUBIC)):
        if kind in rows and rows[kind]["psnr"] is not None:
            facts.append((f"{rows[kind]['psnr']:.1f} dB", f"PSNR {_TITLES[kind]}; {_TITLES[plain]} "
                          f"{rows[plain]['psnr']:.1f} dB"))  # fmt: skip
    return facts


def _table(rows: Sequence[Mapping[str, Any]], model: str) -> str:
    """One line for each method, figures at both resolutions."""
    found = {row["image"]: row for row in rows}
    head = ["method", *("PSNR [dB]", "SSIM", "NMSE") * 2]
    body = []
    for method, kinds in _METHODS.items():
        if kinds[0] in found:
            cells = [page.text(method or model)]
            for row in (found[kind] for kind in kinds):
                cells += [f"{row['psnr']:.2f}", f"{row['ssim']:.4f}", f"{row['nmse']:.5f}"]
            body.append(cells)
    return page.table(head, body, (("", 1), ("at the measured resolution", 3), ("on the fine grid", 3)))


def _provenance(record: Mapping[str, Any], card: Mapping[str, Any]) -> list[str]:
    """Inputs, settings, model, times and versions: enough to run it again."""
    parts = [
        page.section("Inputs and settings", page.inputs(record), page.words(record.get("parameters", {}))),
        page.section("Sampling achieved", page.words(record.get("sampling", {}))),
    ]
    shown = {key: value for key, value in card.items() if key != "config"}
    if shown:
        parts.append(page.section("The model", page.words(shown)))
    times = {stage: f"{seconds:.1f} s" for stage, seconds in record.get("times_seconds", {}).items()}
    return [*parts, page.section("Times and versions", page.words(times), page.words(record.get("versions", {})))]
