"""Section 1 in words: what was found, what is wrong with it, what the command line is asked for."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from slicer.i18n import tr as _

from MSLFusionPanel.words import as_sentence

_ENDINGS = (".h5", ".hdf5")


def modalities_of(text: str) -> list[str]:
    """The names that somebody typed or chose: "CT + T1" -> ct, t1."""
    return [word.lower() for word in re.split(r"[\s+,;]+", text) if word]


def modalities_in_words(names: Sequence[str], between: str = " + ") -> str:
    """As they are written: CT + T1."""
    return between.join(name.upper() for name in names)


def for_the_panel(names: Sequence[str]) -> bool:
    """Whether MSL Fusion can use a model of these: CT and one MR contrast."""
    return len(names) == 2 and names[0] == "ct" and names[1] != "pet"


def elsewhere(names: Sequence[str]) -> str:
    """What becomes of a model of other modalities."""
    if len(names) < 2:
        return ""
    return _(
        "The panel MSL Fusion uses models of CT and one MR contrast. A model of {names} can be trained, exported and "
        "measured (mslfusion validate), and used from Python."
    ).format(names=modalities_in_words(names))


def folder_trouble(path: str) -> str:
    """Why a folder of scans cannot be searched; nothing to say of an empty text."""
    if not path:
        return ""
    if not os.path.isabs(path):
        return _("Give the whole path of the folder.")
    try:
        with os.scandir(path) as entries:
            return "" if any(True for _one in entries) else _("This folder is empty: choose one that holds scans.")
    except FileNotFoundError:
        return _("This folder does not exist.")
    except NotADirectoryError:
        return _("This is a file: choose the folder that holds the scans.")
    except (OSError, ValueError) as error:
        return _("This folder cannot be read: {reason}.").format(reason=getattr(error, "strerror", None) or error)


def file_trouble(path: str, what: str) -> str:
    """Why a file cannot be read; nothing to say of an empty text."""
    if not path:
        return ""
    if not os.path.isabs(path):
        return _("Give the whole path of the {what}.").format(what=what)
    if os.path.isdir(path):
        return _("This is a folder: choose the file of the {what}.").format(what=what)
    if not os.path.isfile(path):
        return _("This file does not exist.")
    return "" if os.access(path, os.R_OK) else _("This file cannot be read: it lacks the permission.")


def cannot_look() -> str:
    """Why nothing is known of a training set."""
    return _("It cannot be looked into before the Python packages are installed: Start offers to install them.")


def output_trouble(path: str) -> str:
    """Why a training set cannot be written there, as far as can be told beforehand."""
    if not os.path.isabs(path):
        return _("Give the whole path of the file.")
    if not path.lower().endswith(_ENDINGS):
        return _("The name of the file must end in .h5.")
    if os.path.isdir(path):
        return _("This is a folder: add the name of the file.")
    folder = os.path.dirname(path)
    while folder and not os.path.isdir(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)  # folders that are missing are made
    return "" if os.access(folder, os.W_OK) else _("Nothing can be written there: choose another place.")


def usual_output(scans: str) -> str:
    """The training set beside a folder or table of scans."""
    folder, name = os.path.split(os.path.normpath(scans))
    return os.path.join(folder, f"{name.removesuffix('.csv')}-training-set.h5")


def found_in_words(found: Mapping[str, Any]) -> str:
    """How many patients a folder or table has."""
    usable = sum(not row["problem"] for row in found["patients"])
    said = _("1 patient") if usable == 1 else _("{n} patients").format(n=usable)
    return _("{patients} with {modalities} found.").format(
        patients=said, modalities=modalities_in_words(found["modalities"])
    )


def incomplete(rows: Sequence[Mapping[str, Any]]) -> str:
    """Patients that cannot be used, in one sentence; empty when there are none."""
    if not rows:
        return ""
    first = as_sentence(rows[0]["problem"])
    if len(rows) == 1:
        return _("1 patient will be left out: {first}").format(first=first)
    return _("{n} patients will be left out; the first: {first}").format(n=len(rows), first=first)


def set_in_words(found: Mapping[str, Any]) -> str:
    """What a training set holds, in one line."""
    counts = [(split, sum(one["split"] == split for one in found["patients"])) for split in _splits()]
    shares = _(", ").join(f"{count} {_splits()[split]}" for split, count in counts if count)
    return _("{modalities}, {slices} slices of {size} x {size} at {pixel:.3g} mm; patients: {shares}.").format(
        modalities=modalities_in_words(found["modalities"]),
        slices=found["slices"],
        size=found["size"],
        pixel=found["pixel_mm"],
        shares=shares,
    )


def remark_on_set(found: Mapping[str, Any]) -> str:
    """What somebody should know before training on a set."""
    if not any(one["split"] == "validation" for one in found["patients"]):
        return _("No patient is for validation: the training would be watched on its own slices.")
    return ""


def progress_in_words(done: int | None, total: int | None, seconds_left: float | None) -> str:
    """How far the preparation is."""
    if done is None or not total:
        return _("Starting ...")
    said = _("{done} of {total} patients").format(done=done, total=total)
    if seconds_left is None:
        return said + _(".")
    minutes = max(1, round(seconds_left / 60))
    return _("{said}, about {n} min left.").format(said=said, n=minutes)


def prepare_words(data: Any, modalities: Sequence[str]) -> list[str]:
    """The words of `mslfusion prepare` after its source."""
    words = ["--output", data.output, "--modalities", *modalities]
    words += ["--validation", f"{data.validation:g}", "--test", f"{data.test:g}", "--seed", str(data.splitSeed)]
    words += ["--size", str(data.size), "--pixel-mm", repr(_pixel(data.pixel)), "--least-body", f"{data.leastBody:g}"]
    words += ["--mr-scaling", data.scaling.value, "--workers", str(data.workers)]
    if not data.register:
        words.append("--no-register")
    if not data.mask:
        words.append("--keep-outside")
    return words


def _pixel(shown: float) -> float:
    """The pixel that is meant by four decimals: 0.6667 is two thirds, as in the presets."""
    usual = 256 / 384
    return usual if abs(shown - usual) < 5e-5 else shown


def _splits() -> dict[str, str]:
    return {"train": _("for training"), "validation": _("for validation"), "test": _("for a test")}
