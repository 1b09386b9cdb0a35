"""What there is to prepare, or what was prepared, without doing anything: `mslfusion prepare SOURCE --list`."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MSLFusionLib.errors import InputError
from MSLFusionTrainingLib.prepare.settings import Patient

if TYPE_CHECKING:
    from MSLFusionTrainingLib.prepare.store import StoredPatient, StoredSet


def listed_scans(patients: Sequence[Patient], modalities: Sequence[str]) -> dict[str, Any]:
    """JSON-able: "kind" "scans", "modalities", "patients" with "id", "scans" (or a number of "slices") and "problem".

    A scan that is named but not there is a problem of its patient. Raises InputError when no patient can be used.
    """
    rows: list[dict[str, Any]] = []
    for one in patients:
        scans = {name: str(path) for name, path in one.scans.items()}
        gone = next((name for name, path in one.scans.items() if not path.exists()), None)
        problem = one.missing or (f"The {gone.upper()} file {one.scans[gone]} does not exist." if gone else "")
        rows.append({"id": one.id, "scans": scans, "slices": len(one.published), "problem": problem})
    if rows and all(row["problem"] for row in rows):
        first = str(rows[0]["problem"])
        raise InputError(
            first if len(rows) == 1 else f"None of the {len(rows)} patients can be used. The first: {first}"
        )
    return {"kind": "scans", "modalities": list(modalities), "patients": rows}


def listed_set(stored: "StoredSet") -> dict[str, Any]:
    """JSON-able: "kind" "set", what the set holds, and its "patients" as rows; "page": its quality page or ""."""
    page = stored.path.with_suffix(".html")
    return {
        "kind": "set",
        "modalities": list(stored.modalities),
        "size": stored.size,
        "pixel_mm": stored.pixel_mm,
        "sha256": stored.sha256,
        "settings": stored.settings,
        "slices": sum(one.slices for one in stored.patients),
        "patients": [_row(one) for one in stored.patients],
        "failed": [{"id": name, "problem": sentence} for name, sentence in stored.failed],
        "page": str(page) if page.is_file() else "",
    }


def said(values: dict[str, Any], source: Path) -> str:
    """The listing for people."""
    contrasts = " + ".join(name.upper() for name in values["modalities"])
    lines = [f"{source}: {contrasts}, {len(values['patients'])} patients"]
    if values["kind"] == "set":
        lines[0] += f", {values['slices']} slices of {values['size']} x {values['size']}"
        for one in values["patients"]:
            remarks = [f"{count} left out: {reason}" for reason, count in one["left_out"]] + one["warnings"]
            lines.append(f"  {one['id']}  {one['split']:<10} {one['slices']} slices  {'; '.join(remarks)}".rstrip())
        lines += [f"  {one['id']}  not in the set: {one['problem']}" for one in values["failed"]]
    else:
        for one in values["patients"]:
            lines.append(f"  {one['id']}  {one['problem'] or ', '.join(one['scans'].values()) or one['slices']}")
    return "\n".join(lines)


def _row(one: "StoredPatient") -> dict[str, Any]:
    reasons = Counter(str(reason) for _number, reason in one.about["rejected"])
    return {
        "id": one.id,
        "split": one.split,
        "slices": one.slices,
        "left_out": [[reason, count] for reason, count in reasons.most_common()],
        "warnings": list(one.about["warnings"]),
    }
