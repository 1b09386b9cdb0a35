"""The methods as the worker tells of them: what each takes, and what is missing."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from slicer.i18n import tr as _

from MSLFusionPanel.process import Worker
from MSLFusionPanel.question import Question


class MethodTable:
    """Asked of each worker once, when it is needed; no torch is loaded for it.

    rows: as MSLFusionLib.methods.Method.to_dict; those of the last answer until there is another one. trouble: why
    there is none.
    """

    def __init__(self, worker: Worker, changed: Callable[[], Any]) -> None:
        self.rows: Sequence[Mapping[str, Any]] = ()
        self._worker = worker
        self._question = Question(worker, changed)
        self._asked = 0

    @property
    def known(self) -> bool:
        """Whether `rows` are those of the present worker."""
        return self._question.answer is not None

    @property
    def trouble(self) -> str:
        """Why the worker did not tell."""
        if self._worker.where != "local" and self._worker.state != "running" and not self.known:
            return _("What the worker can do is shown when it is connected.")
        return self._question.problem

    def look(self, folder: str) -> None:
        """Ask where that was not done yet; folder: of more models, empty for none."""
        if self._worker.where != "local" and self._worker.state != "running":
            return  # connecting is the user's to do
        if self._question.problem and self._worker.state == "running":
            self._asked = self._worker.generation  # it was started anew meanwhile: by the user, or for something else
        self._question.ask((self._worker.where, folder, self._asked), "methods", [folder] if folder else [])
        if self._question.answer is not None:
            self.rows = self._question.answer["methods"]

    def fusion(self) -> list[Mapping[str, Any]]:
        """The rows of methods that fuse."""
        return [row for row in self.rows if row["task"] == "fuse"]

    def look_again(self) -> None:
        """The next `look` asks anew."""
        self._question.forget()

    def row(self, name: str) -> Mapping[str, Any] | None:
        """What is told of the method of that name; None where it is not known."""
        return next((row for row in self.rows if row["name"] == name), None)
