"""Measured and simulated sampling in words."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from slicer.i18n import tr as _

from MSLFusionPanel.parameters import Coils
from MSLFusionPanel.words import grid_in_words, share_in_words


def image_names(achieved: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, str]:
    """What the sensor images are called that a session gives, by kind. achieved: as the session tells; raw: see
    inputs.Inputs."""
    limited = achieved.get("ct", {}).get("scan") == "limited"
    iterative = raw.get("coils") == Coils.SENSE_TV.value
    return {
        "fbp": _("Limited-angle CT (total variation)") if limited else _("Sparse-view FBP"),
        "zero-filled": _("MR (total variation)") if iterative else _("Zero-filled MR"),
    }


def every_image_name() -> set[str]:
    """All that `image_names` may give."""
    limited, iterative = {"ct": {"scan": "limited"}}, {"coils": Coils.SENSE_TV.value}
    return {*image_names({}, {}).values(), *image_names(limited, iterative).values()}


def description_text(found: Mapping[str, Any]) -> str:
    """What the worker found, for the text of the scene's node."""
    lines = [described_in_words(found), ""]
    for kind, file in (found.get("files") or {}).items():
        if isinstance(file, Mapping):
            lines.append(f"{kind}: {file.get('file')} ({file.get('kind')})")
            details = file.get("found")
            for name, value in (details if isinstance(details, Mapping) else {}).items():
                lines.append(f"  {name}: {json.dumps(value)}")
    lines += [*found.get("warnings", ()), ""]
    return "\n".join(lines)


def described_in_words(found: Mapping[str, Any]) -> str:
    """What a sensors file holds, from the worker's description of it."""
    achieved, geometry = found["achieved"], found.get("geometry") or {}
    lines = []
    if "size" in geometry and "spacing_mm" in geometry:
        lines.append(
            _("{modalities} for a volume of {grid}").format(
                modalities=_(" and ").join(name.upper() for name in found["modalities"]),
                grid=grid_in_words(geometry["size"], geometry["spacing_mm"]),
            )
        )
    if "ct" in achieved:
        lines.append(views_in_words(achieved["ct"]["views"], achieved["ct"].get("scan", "")))
    if "mr" in achieved:
        mr = achieved["mr"]
        lines.append(kspace_in_words(mr.get("acceleration"), (mr["columns"], mr["of"]) if "of" in mr else None))
        if mr.get("coils", 1) != 1:
            lines.append(_("{n} coils").format(n=mr["coils"]))
    lines.append(_("simulated") if found.get("plan") else _("measured"))
    return _("; ").join(lines) + "."


def views_in_words(views: int, scan: str) -> str:
    """What a CT measures."""
    words = _("1 view") if views == 1 else _("{n} views").format(n=views)
    arcs = {"full": _("over a full turn"), "short": _("over a short scan"), "limited": _("over a limited angle")}
    return f"{words} {arcs[scan]}" if scan in arcs else words


def kspace_in_words(acceleration: float | None, columns: Sequence[int] | None) -> str:
    """What an MR measures."""
    share = _("part of k-space") if acceleration is None else share_in_words(acceleration)
    if columns is None:
        return share
    return _("{share} ({kept} of {all} columns)").format(share=share, kept=columns[0], all=columns[1])


def remote_path() -> str:
    """Where a path leads to that a worker elsewhere is told."""
    return _("The path is one of the machine that the worker runs on.")
