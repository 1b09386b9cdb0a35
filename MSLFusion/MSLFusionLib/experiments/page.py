"""The report of a robustness run: for each group of conditions a plot, tables and pictures."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from MSLFusionLib import __version__
from MSLFusionLib.evaluation.compare import CONVENTIONS as INTERVALS
from MSLFusionLib.evaluation.figures import CONVENTIONS as FIGURES
from MSLFusionLib.experiments.classical import TV_CT, TV_MR, WAVELET_MR
from MSLFusionLib.experiments.robustness import (
    CAP_DB,
    FBP,
    FUSION,
    MSL,
    NETWORK,
    SENSOR_BLEND,
    TV_BLEND,
    ZERO_FILLED,
    Cell,
)
from MSLFusionLib.report import page
from MSLFusionLib.report.figures import DPI, INK, WIDTH_IN, Panel, as_png, panel_row, plain_axes

TITLES = {
    "sampling": "Less data",
    "misregistration": "CT and MR that do not lie on each other",
    "noise": "Noise",
    "single": "One modality alone",
}
NOTES = {
    "sampling": "Views over the full circle, and the share of k-space columns; no noise. The network was not trained "
    "again for any of them.",
    "misregistration": "The CT is measured where it lies, so many of the network's pixels too far to the right and too "
    "low; images at lambda 0 are compared with the CT as measured. Blends show both images where they lie.",
    "noise": "Photons per detector bin without object, and the standard deviation of k-space noise. Weights of total "
    "variation and wavelets are tuned for each level.",
    "single": "The network sees one modality and gives both: what it makes of the other is synthesised, a guess and "
    "not a measurement.",
}
ORDER = (FBP, ZERO_FILLED, TV_CT, TV_MR, WAVELET_MR, NETWORK, MSL, SENSOR_BLEND, TV_BLEND, FUSION)
_MADE_UP = ", synthesised"
_STYLES = {
    FBP: (":", "#8a939d"), ZERO_FILLED: (":", "#8a939d"), TV_CT: ("--", "#b3500b"), TV_MR: ("--", "#b3500b"),
    WAVELET_MR: ("--", "#2e8b57"), NETWORK: ("-.", "#8f6f9e"), MSL: ("-", "#0b62b3"),
}  # fmt: skip
_CONVENTIONS = {
    "images": "whole network slices in [0, 1], air included; sensors simulated on the network's grid",
    "PSNR": f"at most {CAP_DB:g} dB, means over slices",
    **{name: FIGURES[name] for name in ("MAE", "SSIM", "MI", "NMI")},
    "MSL": "the network's images with data consistency, as reconstruct gives them",
    "total variation, wavelets": "run to convergence, knowing that images are not negative and MR has no phase; "
    "weights tuned for each measurement on a generated head that takes no other part",
    "lead": "MSL minus the other method, of the same slices; " + INTERVALS["interval over slices"],
}


def write_page(
    path: Path,
    cells: Sequence[Cell],
    means: Sequence[Mapping[str, Any]],
    leads: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
) -> None:
    """The page; it refers to nothing outside itself. means, leads: see experiments.summary."""
    body = []
    for group in dict.fromkeys(cell.condition.group for cell in cells):
        of_group = [row for row in means if row["group"] == group]
        rates = {cell.condition.name: cell.condition.plan.acceleration for cell in cells}
        # The MR beside the MR of the same share of k-space, the CT beside that of as many views.
        sides = {
            0.0: [row for row in of_group if row["lambda"] == 0.0],
            1.0: sorted((row for row in of_group if row["lambda"] == 1.0), key=lambda row: rates[row["condition"]]),
        }
        parts = [page.paragraph(NOTES[group])]
        parts.append(
            page.picture(_plot(sides, "light"), "Means over slices; MSL is the solid line.", _plot(sides, "dark"))
        )
        for lam, side in ((0.0, "CT"), (1.0, "MR")):
            made_up = {cell.condition.name for cell in cells if side.lower() not in cell.condition.modalities}
            of_side = _table(sides[lam], [row for row in leads if row["group"] == group], made_up)
            parts.append(f"<h3>{side}, lambda {lam:g}</h3>" + of_side)
        hybrids = [row for row in of_group if row["lambda"] == 0.5]
        parts.append("<h3>Half and half, lambda 0.5</h3>" + _hybrids(hybrids))
        parts += [_pictures(cell) for cell in _first_of_each(cells, group)]
        body.append(page.section(TITLES[group], *parts))
    body.append(page.section("Weights that were tuned", _weights(cells)))
    body.append(page.section("Settings", page.words(settings)))
    body.append(page.section("How the figures are made", page.words(_CONVENTIONS)))
    foot = f"MSLFusion {__version__}. For research, not for diagnosis."
    volumes = " · ".join(dict.fromkeys(cell.volume for cell in cells))
    path.write_text(page.page("Robustness", volumes, "\n".join(body), foot), encoding="utf-8")


def _plot(sides: Mapping[float, Sequence[Mapping[str, Any]]], theme: str) -> bytes:
    """PSNR and SSIM of CT and MR over the group's conditions, a line for each method. sides: rows of lambda 0 and 1."""
    figure = Figure(figsize=(WIDTH_IN, 3.9), dpi=DPI)
    FigureCanvasAgg(figure)
    figure.patch.set_alpha(0.0)
    lines: dict[str, Any] = {}
    wanted = ((0.0, "psnr"), (1.0, "psnr"), (0.0, "ssim"), (1.0, "ssim"))
    for number, (lam, key) in enumerate(wanted):
        axes = figure.add_subplot(1, 4, number + 1)
        names = list(dict.fromkeys(row["condition"] for row in sides[lam]))
        for method in ORDER:
            points = [(names.index(row["condition"]), row[key]) for row in sides[lam] if row["method"] == method]
            if points and method in _STYLES:
                style, colour = _STYLES[method]
                colour = {"#0b62b3": "#6cb6ff", "#b3500b": "#f2a154"}.get(colour, colour) if theme == "dark" else colour
                (lines[method],) = axes.plot(
                    *zip(*points, strict=True), style, marker="o", ms=3.5, lw=1.7, color=colour
                )
        axes.set_title(f"{'CT' if lam == 0 else 'MR'} {'PSNR [dB]' if key == 'psnr' else 'SSIM'}", color=INK[theme],
                       fontsize=11)  # fmt: skip
        plain_axes(axes, theme)
        axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=6.5)
    figure.legend(list(lines.values()), list(lines), loc="lower center", ncols=len(lines), frameon=False,
                  labelcolor=INK[theme], fontsize=8)  # fmt: skip
    figure.subplots_adjust(left=0.045, right=0.99, top=0.92, bottom=0.42, wspace=0.22)
    return as_png(figure)


def _table(rows: Sequence[Mapping[str, Any]], leads: Sequence[Mapping[str, Any]], made_up: Collection[str]) -> str:
    """made_up: conditions whose images of this side are synthesised from the other's data."""
    body = []
    for row in _sorted(rows):
        lead = next(
            (one for one in leads if all(one[k] == row[k] for k in ("condition", "method", "lambda", "target"))), None
        )
        method = row["method"] + (_MADE_UP if row["condition"] in made_up else "")
        cells = [page.text(row["condition"]), page.text(method), f"{row['psnr']:.2f}", f"{row['ssim']:.4f}",
                 f"{row['mae']:.5f}", f"{row['mi']:.3f}"]  # fmt: skip
        if lead is None:
            cells += ["", "", ""]
        else:
            interval = "" if lead["psnr_low"] is None else f" ({lead['psnr_low']:+.2f} to {lead['psnr_high']:+.2f})"
            ahead = f"{lead['psnr_ahead']} of {lead['slices']}"
            cells += [f"{lead['psnr']:+.2f}{interval}", f"{lead['psnr_worst']:+.2f}", ahead]
        body.append(cells)
    _ease(body)
    head = ("condition", "method", "PSNR [dB]", "SSIM", "MAE", "MI [nats]", "MSL's lead [dB], 95 %", "worst slice",
            "ahead in")  # fmt: skip
    return page.table(head, body)


def _hybrids(rows: Sequence[Mapping[str, Any]]) -> str:
    lines: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for row in _sorted(rows):
        lines.setdefault((row["condition"], row["method"]), {})[row["target"]] = row
    keys = (("mae", ".4f"), ("ssim", ".4f"), ("mi", ".3f"))
    body = [
        [page.text(condition), page.text(method)]
        + [f"{found[target][key]:{how}}" for target in ("ct", "mr") for key, how in keys]
        for (condition, method), found in lines.items()
    ]
    _ease(body)
    names = ("MAE", "SSIM", "MI [nats]")
    return page.table(("condition", "method", *names, *names), body, (("", 2), ("to CT", 3), ("to MR", 3)))


def _ease(body: list[list[str]]) -> None:
    """Each condition (first column) is named once, and the rows of MSL (second column) are bold."""
    before = None
    for cells in body:
        cells[0], before = ("" if cells[0] == before else cells[0]), cells[0]
        if cells[1] in (MSL, MSL + _MADE_UP):
            cells[1:] = [cell and f"<b>{cell}</b>" for cell in cells[1:]]


def _sorted(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    conditions = list(dict.fromkeys(row["condition"] for row in rows))
    return sorted(rows, key=lambda row: (conditions.index(row["condition"]), ORDER.index(row["method"])))


def _first_of_each(cells: Sequence[Cell], group: str) -> list[Cell]:
    found: dict[str, Cell] = {}
    for cell in cells:
        if cell.condition.group == group:
            found.setdefault(cell.condition.name, cell)
    return list(found.values())


def _pictures(cell: Cell) -> str:
    """The middle slice of the first volume: a row of CTs, one of MRs and one of hybrids."""
    caption = f"{cell.condition.name}, {cell.volume}, middle slice"
    rows = []
    for lam, side in ((0.0, "CT"), (1.0, "MR"), (0.5, "")):
        panels = []
        for method in (*(("truth",) if side else ()), *ORDER):
            image = cell.pictures.get(f"{method}|{lam:g}")
            if image is not None and method != NETWORK:
                name = f"{side} {method}" if method in ("truth", MSL) and side else method
                if method == MSL and side and side.lower() not in cell.condition.modalities:
                    name += _MADE_UP
                panels.append(Panel(name if side else f"{method}, 0.5", image, (1.0, 1.0)))
        rows.append(page.picture(panel_row(panels, columns=5), f"{caption}: {side or 'half and half'}."))
    return page.folded(f"{caption}.", "".join(rows))


def _weights(cells: Sequence[Cell]) -> str:
    body = []
    for cell in _first_of_each_condition(cells):
        body.append([page.text(cell.condition.name), *(f"{cell.weights[name]:.3g}" if name in cell.weights else "–"
                                                      for name in (TV_CT, TV_MR, WAVELET_MR))])  # fmt: skip
    return page.table(("condition", TV_CT, TV_MR, WAVELET_MR), body)


def _first_of_each_condition(cells: Sequence[Cell]) -> list[Cell]:
    return list({cell.condition.name: cell for cell in reversed(cells)}.values())[::-1]
