"""An evaluation as files: tables (CSV), all of it (JSON), and a page to look at (HTML)."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from MSLFusionLib import __version__
from MSLFusionLib.evaluation.compare import CONVENTIONS as DIFFERENCES
from MSLFusionLib.evaluation.figures import BODY, CONVENTIONS, NAMES, REGIONS
from MSLFusionLib.evaluation.measure import Measured
from MSLFusionLib.evaluation.plots import TITLES, over_lambda, over_slices
from MSLFusionLib.report import page
from MSLFusionLib.sensor_names import ENDS

SLICE_COLUMNS = ("run", "volume", "slice", "image", "lambda", "target", "region", *NAMES)
VOLUME_COLUMNS = ("run", "volume", "image", "lambda", "target", "region", *NAMES)
DIFFERENCE_COLUMNS = (
    "run", "against", "image", "lambda", "target", "region", "figure", "slices", "mean", "low", "high", "nearer",
    "volumes", "volume_mean", "volume_low", "volume_high",
)  # fmt: skip
_DIGITS = {"mae": 5, "psnr": 2, "ssim": 4, "mi": 3, "nmi": 4}


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """A CSV file; what there is not stays empty, infinite values are written as inf."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows({key: "" if row.get(key) is None else row[key] for key in columns} for row in rows)


def write_page(path: Path, measured: Sequence[Measured], differences: Sequence[Mapping[str, Any]]) -> None:
    """The page; it refers to nothing outside itself."""
    runs = list(dict.fromkeys(one.run.name for one in measured))
    volumes = [row for one in measured for row in one.volumes]
    body = [_runs(measured)]
    shown = [row for row in volumes if row["region"] == BODY]
    caption = (
        "Figures of whole volumes, within the body, against CT (orange) and MR (blue), over lambda; runs by line style."
    )
    body.append(page.section("Over lambda", _themed(lambda theme: over_lambda(shown, runs, theme), caption)))
    if differences:
        body.append(page.section("Runs side by side", *_differences(differences)))
    body.append(page.section("Over the slices", *_slices(measured, runs)))
    for region in REGIONS:
        name = "within the body" if region == BODY else "over whole slices"
        body.append(page.section(f"Volumes, {name}", _volumes([r for r in volumes if r["region"] == region], runs)))
    said = {**CONVENTIONS, **(DIFFERENCES if differences else {})}
    body.append(page.section("How the figures are made", page.words(said)))
    foot = f"MSLFusion {__version__}. For research, not for diagnosis."
    path.write_text(page.page("Evaluation", " · ".join(runs), "\n".join(body), foot), encoding="utf-8")


def _themed(draw: Any, caption: str) -> str:
    return page.picture(draw("light"), caption, draw("dark"))


def _runs(measured: Sequence[Measured]) -> str:
    """What was compared."""
    rows = []
    for one in measured:
        record = one.run.record
        details = record.get("details", {}).get("reconstruction", {})
        said = {True: "on", False: "off"}.get(details.get("consistency"), "–")
        rows.append(
            [
                page.text(one.run.name),
                f"<code>{page.text(one.run.folder)}</code>",
                page.text(record.get("parameters", {}).get("model")),
                page.text(" and ".join(name.upper() for name in one.run.measured)),
                said,
                page.text(one.truth_key),
                page.text(len({row["slice"] for row in one.slices})),
            ]
        )
    head = ("run", "folder", "model", "measured", "data consistency", "volume", "slices")
    return page.table(head, rows)


def _slices(measured: Sequence[Measured], runs: Sequence[str]) -> list[str]:
    parts = []
    for key in dict.fromkeys(one.truth_key for one in measured):
        rows = [row for one in measured if one.truth_key == key for row in one.slices if row["region"] == BODY]
        for target, lam, plain in ENDS:
            names = [row["image"] for row in rows if row["lambda"] == lam and row["target"] == target]
            if not names:
                continue
            sensor = next((row["image"] for row in rows if row["image"] in plain), plain[0])
            drawn = [names[0], sensor]
            caption = (
                f"Volume {key}: {names[0]} against the {target.upper()}, slice by slice within the body; "
                f"grey: {sensor}, where the run has it."
            )
            parts.append(_themed(lambda theme, r=rows, t=target, d=drawn: over_slices(r, runs, t, d, theme), caption))
    return parts


def _volumes(rows: Sequence[Mapping[str, Any]], runs: Sequence[str]) -> str:
    """One line for each run, volume and image: figures against CT, then against MR."""
    lines: dict[tuple[Any, ...], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        lines.setdefault((row["volume"], row["image"], row["run"]), {})[row["target"]] = row
    body = []
    for (volume, image, run), found in lines.items():
        cells = [page.text(image), page.text(run), page.text(volume)]
        for target in ("ct", "mr"):
            cells += [_cell(found.get(target, {}).get(key), key, target) for key in NAMES]
        body.append(cells)
    titles = [TITLES[key][0] for key in NAMES]
    groups = (("", 3), ("against CT", len(NAMES)), ("against MR", len(NAMES)))
    return page.table(("image", "run", "volume", *titles, *titles), body, groups)


def _differences(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    body = []
    for row in rows:
        if row["region"] != BODY or row["figure"] not in ("mae", "psnr", "ssim", "nmi"):
            continue
        digits, target = _DIGITS[row["figure"]], row["target"]
        interval = "–" if row["low"] is None else f"{row['low']:+.{digits}f} to {row['high']:+.{digits}f}"
        over = (
            "–" if row["volume_low"] is None else f"{row['volume_low']:+.{digits}f} to {row['volume_high']:+.{digits}f}"
        )
        body.append(
            [
                page.text(row["image"]),
                f"{page.text(row['run'])} − {page.text(row['against'])}",
                f'<span class="{target}">{target.upper()}</span>',
                page.text(TITLES[row["figure"]][0]),
                f"{row['mean']:+.{digits}f}",
                interval,
                f"{row['nearer']:.0%}",
                page.text(row["slices"]),
                over,
            ]
        )
    head = ("image", "runs", "against", "figure", "mean difference", "95 % over slices", "nearer", "slices",
            "95 % over volumes")  # fmt: skip
    return [page.paragraph("Within the body; differences.csv has whole slices too."), page.table(head, body)]


def _cell(value: float | None, key: str, target: str) -> str:
    return "–" if value is None else f'<span class="{target}">{value:.{_DIGITS[key]}f}</span>'
