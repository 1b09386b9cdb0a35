"""The models that can be chosen: those found on this machine, or those that a remote worker tells of."""

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from MSLFusionLib.io.checkpoints import list_models, model_folders
from MSLFusionPanel.process import Worker
from MSLFusionPanel.question import Question


@dataclass(frozen=True)
class Model:
    """name: what the parameters keep and the worker lists. label: what the selector shows. path: its file."""

    name: str
    label: str
    path: str
    card: Mapping[str, Any]


class ModelList:
    """Looks for models again only when a folder or the worker changed.

    models: what was found last. folder_problem: why the user's folder cannot be used. folder_empty: it holds no
    model. known: False as long as a remote worker has not told. trouble: why it did not.
    """

    def __init__(self, worker: Worker, changed: Callable[[], Any]) -> None:
        self.models: list[Model] = []
        self.folder_problem = ""
        self.folder_empty = False
        self._worker = worker
        self._question = Question(worker, changed)
        self._state: Hashable = None

    @property
    def known(self) -> bool:
        """Whether `models` is all there is."""
        return self._worker.where == "local" or (self._question.answer is not None and not self._question.pending)

    @property
    def folder_useful(self) -> bool:
        """Whether the user's folder can be searched and holds a model."""
        return self.known and not self.folder_problem and not self.folder_empty

    @property
    def trouble(self) -> str:
        """Why a remote worker did not tell of its models."""
        return "" if self._worker.where == "local" else self._question.problem

    def look(self, folder: str) -> None:
        """Bring the list up to date; `folder`: the user's own, empty for none."""
        if self._worker.where == "local":
            self._look_here(folder)
        else:
            self._look_there(folder)

    def look_again(self) -> None:
        """The next `look` does not trust what was found before."""
        self._state = None
        self._question.forget()

    def chosen(self, name: str) -> Model | None:
        """The model of that name or file; the default one for an empty name; None when it is not there."""
        if not name:
            both = [model for model in self.models if model.card.get("modalities") == ["ct", "mr"]]
            return next(iter(both or self.models), None)
        return next((model for model in self.models if name in (model.name, model.path)), None)

    def _look_here(self, folder: str) -> None:
        self.folder_problem = _folder_problem(folder)
        folders = [] if self.folder_problem or not folder else [Path(folder)]
        state = tuple((str(one), _changed_at(one)) for one in (*model_folders(), *folders))
        if state == self._state:
            return
        self._state = state
        found = [(info.name, str(info.path), info.card) for info in list_models(folders)]
        self.models = _labelled(found)
        self.folder_empty = bool(folders) and all(Path(path).parent != folders[0] for _name, path, _card in found)

    def _look_there(self, folder: str) -> None:
        self.folder_problem = ""
        if self._worker.state == "running":
            self._question.ask(
                (self._worker.where, self._worker.generation, folder), "models", [folder] if folder else []
            )
        answer = self._question.answer
        state = (self._worker.where, None if answer is None else id(answer))
        if state != self._state:
            self._state = state
            listed = [] if answer is None else answer["models"]
            self.models = _labelled([(one["name"], one["path"], one["card"]) for one in listed])
            self.folder_empty = False  # that machine's folders are not for us to judge


def _labelled(found: Sequence[tuple[str, str, Mapping[str, Any]]]) -> list[Model]:
    """Models that can be told apart: by file name, by the folder where that is not enough."""
    stems = [_stem(path) for _name, path, _card in found]
    models = []
    for (name, path, card), stem in zip(found, stems, strict=True):
        title = card.get("name")
        label = stem if title == stem or not isinstance(title, str) else f"{stem} ({' '.join(title.split())})"
        if stems.count(stem) > 1 and name != stem:
            label = _("{name}, in {folder}").format(name=label, folder=_parent(path))
        models.append(Model(name, label, path, card))
    return models


def _stem(path: str) -> str:
    """The file's name without its ending, whatever system the path is of."""
    return path.replace("\\", "/").rpartition("/")[2].removesuffix(".safetensors")


def _parent(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[0]


def _folder_problem(folder: str) -> str:
    """Why a folder of this machine cannot be searched; an empty name is none."""
    if not folder:
        return ""
    if not os.path.isabs(folder):
        return _("Give the whole path of the folder, or leave the field empty.")
    try:
        with os.scandir(folder):
            return ""
    except FileNotFoundError:
        return _("The folder {path} does not exist: choose another one, or leave the field empty.").format(path=folder)
    except NotADirectoryError:
        return _("{path} is no folder: choose the one that the models lie in.").format(path=folder)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        return _("The folder {path} cannot be read: {reason}.").format(path=folder, reason=reason)


def _changed_at(folder: Path) -> int | None:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return None
