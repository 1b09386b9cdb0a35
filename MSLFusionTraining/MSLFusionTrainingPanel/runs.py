"""The runs that this user has started or looked at, in the application's settings: scenes come and go."""

import json
from pathlib import Path

import slicer

_KEY = "MSLFusionTraining/Runs"
_MOST = 20


def known_runs() -> list[Path]:
    """Their folders, the last one first."""
    try:
        kept = json.loads(str(slicer.app.settings().value(_KEY, "[]")))
    except ValueError:
        return []
    return [Path(text) for text in kept if isinstance(text, str)] if isinstance(kept, list) else []


def remember_run(folder: Path) -> None:
    """Put a folder first."""
    before = known_runs()
    if before[:1] != [folder]:
        _keep([folder, *(one for one in before if one != folder)])


def forget_run(folder: Path) -> None:
    """Leave a folder out: there is no run in it any more."""
    before = known_runs()
    if folder in before:
        _keep([one for one in before if one != folder])


def _keep(folders: list[Path]) -> None:
    slicer.app.settings().setValue(_KEY, json.dumps([str(one) for one in folders[:_MOST]]))
