"""Questions to the worker beside the panel's long jobs: what a file holds, which models and devices there are."""

from collections.abc import Callable, Generator, Hashable, Mapping
from typing import Any

from MSLFusionLib.client import Failure
from MSLFusionPanel.task import Task, WorkerError, WorkerLike, ask
from MSLFusionPanel.words import as_sentence


class Question:
    """One question, asked once for each thing that it is about.

    answer: the header of the worker's result, None without one. problem: the sentence of a failure; refused: whether
    it is the user's to mend (a damaged file, say). A new question takes the place of the one before, whose answer is
    dropped when it comes.
    """

    def __init__(self, worker: WorkerLike, changed: Callable[[], Any]) -> None:
        self.answer: Mapping[str, Any] | None = None
        self.problem = ""
        self.refused = False
        self._worker = worker
        self._changed = changed
        self._about: Hashable = None
        self._task: Task | None = None

    @property
    def pending(self) -> bool:
        """Whether the answer is not there yet."""
        return self._task is not None

    def asked(self, about: Hashable) -> bool:
        """Whether this was the last question, answered or not."""
        return self._about == about

    def forget(self) -> None:
        """As if nothing had been asked."""
        self.answer, self.problem, self.refused = None, "", False
        self._about, self._task = None, None

    def ask(self, about: Hashable, method: str, *args: Any, **kwargs: Any) -> None:
        """Call a method of `Client`, starting the worker where need be; nothing when `about` was asked last."""
        if self._about == about:
            return
        self.forget()
        self._about = about

        def steps() -> Generator[Any, Any, Mapping[str, Any] | Failure]:
            try:
                return (yield ask(method, *args, **kwargs)).header
            except WorkerError as error:
                return error.failure

        def ended(answer: Any = None, problem: str = "") -> None:
            if self._task is not task:
                return
            self._task = None
            if isinstance(answer, Failure):
                self.problem, self.refused = as_sentence(answer.sentence), answer.reason == "input"
            else:
                self.answer, self.problem = answer, as_sentence(problem)
            self._changed()

        task = self._task = Task(
            self._worker, steps(), ended, lambda problem: ended(problem=problem), lambda: ended(problem="Cancelled.")
        )
        task.start()
