"""The quality page of a training set: what became of each patient, to be looked at before training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from MSLFusionLib import __version__
from MSLFusionLib.io.atomic import atomic_path
from MSLFusionLib.report import page
from MSLFusionTrainingLib.prepare.pictures import BINS
from MSLFusionTrainingLib.prepare.settings import SPLITS
from MSLFusionTrainingLib.prepare.store import StoredPatient, StoredSet, read_quality

_READING = (
    "Look at the checkerboards: after the registration edges must run on from field to field, within the slice and "
    "across the slices. A patient that does not fit is better left out: remove its scans and prepare again, all others "
    "are taken over as they are.",
    "Images have values from 0 (black) to 1 (white) as the network sees them: CT as attenuation between HU -1000 and "
    "2125, other modalities between the 0.5th and 99.5th percentile of their body unless the settings say otherwise.",
    "The histograms show values within the body, one line for each patient. A line far from the others is a "
    "patient whose scanner, contrast or body mask differs.",
)


def write_page(path: Path, stored: StoredSet) -> None:
    """Write the page of a set; it refers to nothing outside itself and names patients by their ids."""
    quality = {one.id: read_quality(stored.path, one.id) for one in stored.patients}
    slices = {split: sum(one.slices for one in stored.of_split(split)) for split in SPLITS}
    facts = [(str(len(stored.patients)), "patients"), (str(sum(slices.values())), "slices")]
    facts += [(f"{len(stored.of_split(s))} / {slices[s]}", f"{s}: patients / slices") for s in SPLITS if slices[s]]
    facts += [(str(sum(len(one.about["rejected"]) for one in stored.patients)), "slices left out")]
    if stored.failed:
        facts.append((str(len(stored.failed)), "patients left out"))
    body = [page.facts(facts)]
    if stored.failed:
        body.append(page.section("Left out", _two_columns(stored.failed)))
    body.append(page.section("Patients", _table(stored)))
    plots = (_histograms(stored, [quality[one.id][1] for one in stored.patients], theme) for theme in ("light", "dark"))
    body.append(page.section("Intensities", page.picture(next(plots), "Values within the body.", next(plots))))
    body.append(page.section("How to read this", *(page.paragraph(text) for text in _READING)))
    body += [page.section(f"Patient {one.id}", *_patient(stored, one, quality[one.id][0])) for one in stored.patients]
    body.append(page.section("Settings", page.words({**stored.settings, "SHA-256 of the set": stored.sha256})))
    subtitle = "  ·  ".join([" + ".join(name.upper() for name in stored.modalities), f"{stored.size} x {stored.size}"])
    foot = f"MSLFusion {__version__}. For research, not for diagnosis."
    text = page.page(f"Training set {stored.path.stem}", subtitle, "\n".join(body), foot)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _table(stored: StoredSet) -> str:
    head = ["patient", "split", "slices", "left out", "registration", "overlap", "match, from", "to", "remarks"]
    rows = []
    for one in stored.patients:
        found = list(one.about["registration"].values())
        rows.append(
            [
                page.text(one.id),
                one.split,
                page.text(one.slices),
                page.text(len(one.about["rejected"])),
                page.text([item["method"] for item in found] or "none"),
                page.text([round(item["overlap"], 3) for item in found] or None),
                page.text([round(item["start_metric_nats"], 4) for item in found] or None),
                page.text([round(item["metric_nats"], 4) for item in found] or None),
                page.text(len(one.about["warnings"]) or "–"),
            ]
        )
    note = "Match: mutual information in nats, from the start to the end of the registration's last and finest stage."
    return page.table(head, rows) + page.paragraph(note, soft=True)


def _patient(stored: StoredSet, one: StoredPatient, montage: bytes) -> list[str]:
    parts = [page.paragraph(sentence) for sentence in one.about["warnings"]]
    caption = (
        f"{one.slices} slices, {one.split}. "
        + " and ".join(name.upper() for name in stored.modalities)
        + (" as they came." if one.about.get("layout") else " on the network's grid; checkerboards of both.")
    )
    parts.append(page.picture(montage, caption))
    if one.about["rejected"]:
        parts.append(page.folded("Slices left out, and why", _two_columns(ranges(one.about["rejected"]))))
    facts: dict[str, Any] = {"scans (SHA-256)": one.about["inputs"], "seconds": one.about["seconds"]}
    facts |= {"grid": one.about.get("grid"), "scales": one.about.get("scales")}
    for name, found in one.about["registration"].items():
        shown = ("preset", "method", "start", "iterations", "matrix", "shift_mm")
        facts[f"registration of the {name.upper()}"] = {key: found[key] for key in shown}
    parts.append(page.folded("Details", page.words(facts)))
    return parts


def ranges(rejected: Sequence[Sequence[Any]]) -> list[tuple[str, str]]:
    """Slice numbers (counted from 1) with one reason as "3-7, 9", with the reason."""
    reasons: dict[str, list[int]] = {}
    for number, reason in rejected:
        reasons.setdefault(str(reason), []).append(int(number) + 1)
    rows = []
    for reason, numbers in reasons.items():
        runs: list[list[int]] = []
        for number in sorted(numbers):
            if runs and number == runs[-1][1] + 1:
                runs[-1][1] = number
            else:
                runs.append([number, number])
        rows.append((", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs), reason))
    return rows


def _two_columns(rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(f"<tr><td>{page.text(a)}</td><td>{page.text(b)}</td></tr>" for a, b in rows)
    return f'<table class="words"><tbody>{cells}</tbody></table>'


def _histograms(stored: StoredSet, histograms: Sequence[np.ndarray], theme: str) -> bytes:
    """PNG with one plot for each modality and one line for each patient."""
    from MSLFusionLib.report.figures import histogram_plots

    names = [name.upper() for name in stored.modalities]
    shares = [counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) for counts in histograms]
    return histogram_plots(names, shares, (np.arange(BINS) + 0.5) / BINS, theme)
