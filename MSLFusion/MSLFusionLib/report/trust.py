"""What a report, and the command line at its end, say of how far a reconstruction can be trusted."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from MSLFusionLib.report import page

if TYPE_CHECKING:
    import SimpleITK as sitk

    from MSLFusionLib.report.data import ReportData

_NAMES = {"ct": "CT", "mr": "MR"}
_RESIDUALS = {"network": "residual", "delivered": "delivered", "noise": "noise"}
"""Norms of residuals as shares of the measurement's."""
_LEAST_SCALE = 0.02
_TOP_PERCENTILE = 99.5

_UNCERTAIN = (
    "Uncertainty is the error to expect: the reconstruction was done again from random parts of the data, and its "
    "changes were put beside the errors on generated heads, whose truth is known. It is an average over places that "
    "look alike to the network; what the data do not show at all, such as a lesion in a synthesised image, it cannot "
    "know of."
)
_SPREAD = (
    "Uncertainty is the spread of reconstructions from random parts of the data. The model has no error statistics "
    "stored: the spread tells where, but not how much."
)
_RESIDUAL = (
    "The residual is what the network's image, before its correction, has against the measurement: the difference in "
    "the sinogram or in k-space, made an image as the sensor's own data are. In units of the image, where 1 is the "
    "way from black to white."
)


def synthesised(record: Mapping[str, Any]) -> list[str]:
    """The modalities ("ct", "mr") that were not measured."""
    return [str(name) for name in _found(record).get("synthesised") or ()]


def warnings(record: Mapping[str, Any]) -> list[str]:
    """Sentences that belong to the top of a page: what is synthesised, and input unlike the training."""
    sentences = []
    for name in synthesised(record):
        other = _NAMES["mr" if name == "ct" else "ct"]
        sentences.append(
            f"Only {other} data were used: the {_NAMES.get(name, name)} in these images is synthesised from them, not "
            "measured. Take its share for a guess."
        )
    familiarity = _found(record).get("familiarity") or {}
    return sentences + ([str(familiarity["sentence"])] if familiarity.get("unfamiliar") else [])


def lines(details: Mapping[str, Any]) -> list[str]:
    """For the command line: familiarity, and the figures of the maps."""
    found = details.get("reconstruction") or {}
    familiarity = found.get("familiarity") or {}
    text = [f"  {familiarity['sentence']}"] if familiarity.get("score") is not None else []
    for row in _rows(found.get("trust") or {}, found.get("synthesised") or ()):
        text.append("  " + ", ".join(part for part in row if part != "–"))
    return text


def section(record: Mapping[str, Any], picture: str) -> list[str]:
    """The page's section: familiarity, maps and figures; nothing where the run knows of neither."""
    found = _found(record)
    familiarity, figures = found.get("familiarity") or {}, found.get("trust") or {}
    parts = [page.paragraph(str(familiarity["sentence"]))] if familiarity.get("sentence") else []
    if figures:
        calibrated = all(one.get("calibrated") for one in figures.get("uncertainty", {}).values())
        head = ("image", "uncertainty within the body", "residual of the network", "of the delivered image", "of noise")
        rows = [[page.text(cell) for cell in row] for row in _rows(figures, synthesised(record))]
        parts += [picture, page.table(head, rows)]
        parts += [page.paragraph(text) for text in (_UNCERTAIN if calibrated else _SPREAD, _RESIDUAL)]
        parts.append(
            page.paragraph(f"{figures.get('passes')} passes, a quarter of views and outer k-space left out.", True)
        )
    return [page.section("How far to trust it", *parts)] if parts else []


def shown(data: "ReportData") -> "list[list[tuple[str, str, sitk.Image]]]":
    """Rows of pictures, one for CT and one for MR: key, title, volume; empty without maps."""
    rows = []
    for name, lam in (("ct", 0.0), ("mr", 1.0)):
        guess = " (synthesised)" if name in synthesised(data.record) else ""
        row = [
            (f"residual-{name}", f"{_NAMES[name]}: residual"),
            (f"uncertainty-{name}", f"{_NAMES[name]}{guess}: uncertainty"),
        ]
        maps = [(key, title, data.trust_maps[key]) for key, title in row if key in data.trust_maps]
        if maps and lam in data.hybrids:
            maps.insert(0, (f"lambda-{name}", f"{_NAMES[name]}{guess}: lambda {lam:g}", data.hybrids[lam]))
        if maps:
            rows.append(maps)
    return sorted(rows, key=len, reverse=True)


def caption(data: "ReportData", where: str) -> str:
    """What stands below the pictures."""
    return f"Where the network's image contradicts the measurement, and what error to expect, {where}."


def scale(maps: Sequence[np.ndarray]) -> float:
    """The value that the brightest colour stands for."""
    top = [float(np.percentile(one, _TOP_PERCENTILE)) for one in maps]
    return max([_LEAST_SCALE, *top])


def _rows(figures: Mapping[str, Any], guessed: Sequence[str]) -> list[list[str]]:
    """Image, uncertainty, residuals: as texts."""
    rows = []
    for name, uncertainty in figures.get("uncertainty", {}).items():
        residual = figures.get("residual", {}).get(name, {})
        title = _NAMES.get(name, name) + (" (synthesised)" if name in guessed else "")
        word = "expected error" if uncertainty.get("calibrated") else "spread"
        row = [title, f"{word} {uncertainty['mean']:.4f}, 95 % below {uncertainty['p95']:.3f}"]
        for key, text in (
            ("network", "residual {:.2f} %"),
            ("delivered", "delivered {:.2f} %"),
            ("noise", "noise {:.2f} %"),
        ):
            value = residual.get(key)
            row.append("–" if value is None else text.format(100 * value))
        rows.append(row)
    return rows


def _found(record: Mapping[str, Any]) -> Mapping[str, Any]:
    details = record.get("details") or {}
    return details.get("reconstruction") or {}
