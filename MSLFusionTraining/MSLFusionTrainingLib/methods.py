"""What can be trained: each method with the module that trains it and exports it. No torch.

Such a module has `run_train(args, context)` and `run_export(args, context)` for the words of `mslfusion train` and
`mslfusion export`; the facts in the states of its runs name its kind.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MSLFusionLib.errors import InputError
from MSLFusionTrainingLib.facts import BEST, LAST, read_facts
from MSLFusionTrainingLib.tables import METHOD, nearest, read_table

DEFAULT = "msl"


@dataclass(frozen=True)
class Trained:
    """A method that can be trained. module: see above. kind: in the facts of its runs' states."""

    name: str
    module: str
    kind: str

    @property
    def commands(self) -> Any:
        """Its module, imported."""
        return importlib.import_module(f"MSLFusionTrainingLib.{self.module}")


METHODS = {
    one.name: one
    for one in (
        Trained("msl", "msl_command", "msl"),
        Trained("dc2fusion", "volumes.command", "volumes"),
        Trained("cmf-net", "restoration.command", "restoration"),
    )
}


def find(name: Any) -> Trained:
    """The method called `name`; InputError names the nearest one."""
    if name in METHODS:
        return METHODS[name]
    hint = nearest(str(name), METHODS)
    raise InputError(f"There is no method '{name}' to train: use {', '.join(METHODS)}.{hint}")


def asked_for(config: Path | None, settings: Mapping[str, Any], folder: Path) -> Trained:
    """The method to train: the one that the settings (--set) or else the file name, without a file that of the run
    which is in the folder, or msl.

    Raises InputError for an unknown method and a file that cannot be read.
    """
    if METHOD in settings:
        return find(settings[METHOD])
    if config is not None:
        return find(read_table(config).get(METHOD, DEFAULT))
    return of_run(folder) if (folder / LAST).exists() else METHODS[DEFAULT]


def of_run(folder: Path) -> Trained:
    """The method of the run in a folder; InputError when there is none, or one of a kind that we do not know."""
    path = next((folder / name for name in (LAST, BEST) if (folder / name).exists()), None)
    if path is None:
        raise InputError(f"{folder} holds no training run: give the --output folder of 'mslfusion train'.")
    kind = read_facts(path).get("kind", DEFAULT)
    found = next((one for one in METHODS.values() if one.kind == kind), None)
    if found is None:
        raise InputError(f"{folder} holds a run of an unknown kind ('{kind}'): it was made by another version.")
    return found
