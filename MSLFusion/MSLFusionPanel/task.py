"""Work that waits for the worker, written straight down, without threads.

    def steps():
        opened = yield ask("open_model", "msl-ct-t1", device="auto")
        volumes = Assembler(...)
        yield ask("decode_volume", 0.5, on_part=volumes.add)
        yield later()
        return volumes

    task = Task(worker, steps(), on_done=show, on_failed=say)
    task.start()

The generator runs on the main thread, each stretch between two `yield`s in a turn of the event loop of its own: never
inside `start`, and never inside the code that delivers answers. What must be undone after a failure or a cancel
belongs into its `finally`.
"""

import logging
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import qt
from slicer.i18n import tr as _

from MSLFusionLib.client import CANCELLED, Call, Client, Failure
from MSLFusionLib.errors import Cancelled, JobError, MSLFusionError
from MSLFusionLib.wire import ProtocolError


class WorkerError(MSLFusionError):
    """The worker's refusal or failure; `failure` has the sentence, the exit code and the reason."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.sentence)
        self.failure = failure
        self.exit_code = failure.exit_code


@dataclass(frozen=True)
class Request:
    """A request to the worker: a method of `Client` and its arguments."""

    method: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@dataclass(frozen=True)
class Later:
    """A turn of the event loop, or more time."""

    ms: int


@dataclass(frozen=True)
class Wait:
    """Anything else that ends with a callback."""

    register: Callable[[Callable[..., None], Callable[[Exception | str], None]], Any]


def ask(method: str, *args: Any, **kwargs: Any) -> Request:
    """To be yielded: call a method of `Client`; gives the Message of its result, or raises WorkerError.

    kwargs may have an `on_part`. Large arrays are sent while the event loop runs on: they must not change, nor be
    views of a node's memory, until the answer is there.
    """
    return Request(method, args, kwargs)


def later(ms: int = 0) -> Later:
    """To be yielded: let the event loop run, so that the application can draw and hear the user."""
    return Later(ms)


def wait_for(register: Callable[[Callable[..., None], Callable[[Exception | str], None]], Any]) -> Wait:
    """To be yielded: `register(resume, fail)` is called; `resume(value)` or `fail(sentence or error)` goes on, once."""
    return Wait(register)


class WorkerLike(Protocol):
    """What a task needs of a `Worker`."""

    def ensure(self) -> Client:
        """The client of a worker that is there or on its way."""

    def cancel(self, call: Call) -> None:
        """Stop a request, or end a worker that does not react."""


def _nothing(*_arguments: Any) -> None:
    """The callback that was not given."""


class Task:
    """Runs a generator that yields `ask(...)`, `later(...)` and `wait_for(...)`.

    Exactly one of these is called at its end, with `active` False already: on_done(the generator's value),
    on_failed(sentence), on_cancelled(). Before that on_progress(stage, done, total, seconds_left) and
    on_warning(sentence) pass on what the worker says. A request whose place a newer one took ends the task as
    cancelled.
    """

    def __init__(
        self,
        worker: WorkerLike,
        steps: Generator[Any, Any, Any],
        on_done: Callable[[Any], Any] = _nothing,
        on_failed: Callable[[str], Any] = _nothing,
        on_cancelled: Callable[[], Any] = _nothing,
        on_progress: Callable[[str, int, int, float | None], Any] = _nothing,
        on_warning: Callable[[str], Any] = _nothing,
    ) -> None:
        self.active = False
        self._worker = worker
        self._steps = steps
        self._on_done, self._on_failed, self._on_cancelled = on_done, on_failed, on_cancelled
        self._on_progress, self._on_warning = on_progress, on_warning
        self._turn = 0
        """Rises with each wait and each answer, so that second and late answers find that nobody waits for them."""
        self._call: Call | None = None
        self._inside = False
        self._stop_at_yield = False

    @property
    def stopping(self) -> bool:
        """Whether it was cancelled while its generator ran: then it ends at the next `yield`."""
        return self._stop_at_yield

    def start(self) -> None:
        """Begin, in the next turn of the event loop."""
        self.active = True
        self._go_on(self._turn)

    def cancel(self) -> None:
        """Stop: the worker's request, then the generator, whose `finally` blocks run; on_cancelled is called.

        When the generator itself runs at this moment (it let the application process events), it is stopped at its
        next `yield`.
        """
        if not self.active:
            return
        if self._inside:
            self._stop_at_yield = True
            return
        if self._call is not None and not self._call.done:
            self._worker.cancel(self._call)
        self._end(self._on_cancelled)

    def _go_on(self, turn: int, value: Any = None, error: Exception | None = None, ms: int = 0) -> None:
        """Answer the wait number `turn`, unless it has an answer: the generator runs in a later turn."""
        if turn != self._turn or not self.active:
            return
        self._turn = expected = turn + 1

        def advance() -> None:
            if expected == self._turn and self.active:
                self._advance(value, error)

        qt.QTimer.singleShot(ms, advance)

    def _advance(self, value: Any, error: Exception | None) -> None:
        if isinstance(error, Cancelled):  # for the generator every cancel is the same: it is closed
            self._end(self._on_cancelled)
            return
        self._inside = True
        try:
            step = self._steps.send(value) if error is None else self._steps.throw(error)
        except StopIteration as end:
            self._end(self._on_done, end.value)
        except Cancelled:
            self._end(self._on_cancelled)
        except Exception as problem:
            self._end(self._on_failed, _sentence(problem))
        else:
            self._inside = False
            if self._stop_at_yield:
                self._end(self._on_cancelled)
            else:
                self._wait(step)
        finally:
            self._inside = False

    def _wait(self, step: Any) -> None:
        """Begin what the generator waits for; problems in doing so are raised in the generator."""
        turn = self._turn = self._turn + 1
        try:
            if isinstance(step, Request):
                self._ask(turn, step)
            elif isinstance(step, Later):
                self._go_on(turn, ms=step.ms)
            elif isinstance(step, Wait):
                step.register(
                    lambda value=None: self._go_on(turn, value),
                    lambda problem: self._go_on(turn, error=JobError(problem) if isinstance(problem, str) else problem),
                )
            else:
                raise TypeError(f"a task yielded {step!r}")
        except Exception as error:
            self._go_on(turn, error=error)

    def _ask(self, turn: int, request: Request) -> None:
        def waits() -> bool:
            return turn == self._turn and self.active

        def part(message: Any) -> None:
            try:
                if waits():
                    on_part(message)
            except Exception as error:  # the generator shall fail, not only the delivery
                self._go_on(turn, error=error)
                if self._call is not None:
                    self._worker.cancel(self._call)

        def failed(failure: Failure) -> None:
            self._go_on(turn, error=Cancelled() if failure.reason == CANCELLED else WorkerError(failure))

        def progress(header: Mapping[str, Any]) -> None:
            if waits():
                fields = (header.get(name) for name in ("stage", "done", "total", "seconds_left"))
                _tell(self._on_progress, *fields)

        def warning(sentence: str) -> None:
            if waits():
                _tell(self._on_warning, sentence)

        kwargs = dict(request.kwargs)
        on_part = kwargs.pop("on_part", _nothing)
        self._call = getattr(self._worker.ensure(), request.method)(
            *request.args,
            **kwargs,
            on_result=lambda message: self._go_on(turn, message),
            on_error=failed,
            on_dropped=lambda: self._go_on(turn, error=Cancelled()),
            on_progress=progress,
            on_warning=warning,
            on_part=part,
        )

    def _end(self, callback: Callable[..., Any], *values: Any) -> None:
        self.active = False
        self._turn += 1
        try:
            self._steps.close()
        except Exception:
            logging.exception("MSLFusion: a cancelled task could not clean up")
        _tell(callback, *values)


def _tell(callback: Callable[..., Any], *values: Any) -> None:
    """Call the panel; its fault is logged and disturbs nothing here."""
    try:
        callback(*values)
    except Exception:
        logging.exception("MSLFusion: a fault while the panel was told of a task")


def _sentence(problem: Exception) -> str:
    """What the user reads; faults of ours are logged with their traceback."""
    if isinstance(problem, MSLFusionError | ProtocolError):
        return str(problem)
    if isinstance(problem, MemoryError):
        return _("The memory is not enough for this: use a smaller volume.")
    logging.error("MSLFusion: a task failed", exc_info=problem)
    kind = type(problem).__name__
    return _("{kind}: {text} (a fault of MSLFusion; the Python console shows where)").format(kind=kind, text=problem)
