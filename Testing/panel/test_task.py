"""Tasks: generators that wait for the worker, for time and for other callbacks."""

import logging

import bare_qt  # noqa: F401 - first
import numpy as np
import pytest
from fake_worker import FakeWorker
from turns import settle, until

from MSLFusionLib.errors import Cancelled, InputError, JobError
from MSLFusionPanel.task import Task, WorkerError, ask, later, wait_for

pytestmark = pytest.mark.usefixtures("app")


class Told:
    """What a task told the panel."""

    def __init__(self):
        self.calls = []

    def __call__(self, worker, steps):
        def telling(name):
            return lambda *values: self.calls.append((name, *values))

        names = ("done", "failed", "cancelled", "progress", "warning")
        return Task(worker, steps, **{f"on_{name}": telling(name) for name in names})


@pytest.fixture
def worker():
    return FakeWorker()


@pytest.fixture
def told():
    return Told()


def finish(task):
    task.start()
    until(lambda: not task.active)


def test_results_go_into_the_generator_and_its_value_to_the_panel(worker, told):
    def steps():
        hello = yield ask("hello")
        models = yield ask("models", folders=["/there"])
        return hello.header["cores"], len(models.header["models"])

    finish(told(worker, steps()))
    assert told.calls == [("done", (2, 1))]
    assert worker.last("models").header["folders"] == ["/there"]


def test_nothing_happens_inside_start(worker, told):
    happened = []

    def steps():
        happened.append("begun")
        yield later()

    task = told(worker, steps())
    task.start()
    assert task.active
    assert happened == []
    until(lambda: not task.active)
    assert happened == ["begun"]


def test_a_failure_of_the_worker_is_raised_where_it_was_asked(worker, told):
    worker.failures["devices"] = "No devices today."

    def steps():
        with pytest.raises(WorkerError, match="No devices today") as caught:
            yield ask("devices")
        assert (yield ask("hello")).type == "result"
        return caught.value.failure.reason

    finish(told(worker, steps()))
    assert told.calls == [("done", "failed")]


def test_a_failure_that_nobody_expects_ends_the_task_after_cleaning_up(worker, told):
    worker.failures["devices"] = "No devices today."
    cleaned = []

    def steps():
        try:
            yield ask("devices")
        finally:
            cleaned.append(True)

    task = told(worker, steps())
    finish(task)
    assert (cleaned, told.calls) == ([True], [("failed", "No devices today.")])
    task.cancel()
    assert len(told.calls) == 1


def test_a_lost_worker_fails_the_task(worker, told):
    worker.held.add("devices")

    def steps():
        yield ask("devices")

    task = told(worker, steps())
    task.start()
    until(worker.waiting)
    worker.die("The worker crashed.")
    until(lambda: not task.active)
    assert told.calls == [("failed", "The worker crashed.")]


def test_after_cancel_everything_is_over(worker, told):
    worker.held.add("devices")
    events = []

    def steps():
        try:
            yield ask("devices")
            events.append("went on")
        finally:
            events.append("cleaned")

    task = told(worker, steps())
    task.start()
    until(worker.waiting)
    task.cancel()
    assert (events, told.calls, task.active) == (["cleaned"], [("cancelled",)], False)
    assert worker.waiting() == []  # the request is cancelled as well
    settle()
    task.cancel()
    assert (events, told.calls) == (["cleaned"], [("cancelled",)])


def test_a_cancelled_task_does_not_begin(worker, told):
    def steps():
        told.calls.append("begun")
        yield later()

    task = told(worker, steps())
    task.start()
    task.cancel()
    settle()
    assert told.calls == [("cancelled",)]


def test_a_request_that_the_worker_cancelled_cancels_the_task(worker, told):
    worker.held.add("devices")

    def steps():
        try:
            yield ask("devices")
        except (Cancelled, WorkerError):
            told.calls.append("raised")

    task = told(worker, steps())
    task.start()
    until(worker.waiting)
    worker.client.cancel()
    until(lambda: not task.active)
    assert told.calls == [("cancelled",)]


def test_a_superseded_request_ends_the_task_silently(worker, told):
    worker.held.add("decode_slice")

    def steps():
        yield ask("decode_slice", 1, 0.5, view="Red")

    task = told(worker, steps())
    task.start()
    until(worker.waiting)
    worker.ensure().decode_slice(2, 0.5, view="Red")
    until(lambda: not task.active)
    assert told.calls == [("cancelled",)]


def test_a_task_that_lets_the_application_run_is_stopped_at_its_next_yield(worker, told):
    def steps():
        try:
            task.cancel()  # as when the user presses Cancel while the events are processed
            told.calls.append("still running")
            yield ask("hello")
            told.calls.append("went on")
        finally:
            told.calls.append("cleaned")

    task = told(worker, steps())
    finish(task)
    assert told.calls == ["still running", "cleaned", ("cancelled",)]
    assert "hello" not in worker.kinds()


def test_waiting_for_other_callbacks(worker, told):
    def steps():
        early = yield wait_for(lambda resume, fail: (resume(1), resume(2), fail("no")))
        with pytest.raises(JobError, match="no registration"):
            yield wait_for(lambda resume, fail: fail("no registration"))
        with pytest.raises(InputError, match="wrong"):
            yield wait_for(lambda resume, fail: fail(InputError("wrong")))
        with pytest.raises(ZeroDivisionError):
            yield wait_for(lambda resume, fail: 1 / 0)
        yield later(1)
        return early

    finish(told(worker, steps()))
    assert told.calls == [("done", 1)]


def test_late_callbacks_find_that_nobody_waits_for_them(worker, told):
    kept = []

    def steps():
        yield wait_for(lambda resume, fail: kept.extend((resume, fail)))

    task = told(worker, steps())
    task.start()
    until(lambda: kept)
    task.cancel()
    kept[0](1)
    kept[1]("too late")
    settle()
    assert told.calls == [("cancelled",)]


@pytest.mark.parametrize(
    ("problem", "sentence"),
    [
        (InputError("The CT has one slice."), "The CT has one slice."),
        (MemoryError(), "The memory is not enough for this: use a smaller volume."),
    ],
)
def test_what_a_step_raises_is_told_in_a_sentence(worker, told, caplog, problem, sentence):
    def steps():
        yield later()
        raise problem

    finish(told(worker, steps()))
    assert told.calls == [("failed", sentence)]
    assert not caplog.records


def test_a_fault_is_logged_and_called_one(worker, told, caplog):
    def steps():
        yield later()
        raise KeyError("nothing")

    finish(told(worker, steps()))
    (kind, sentence), *more = told.calls
    assert (kind, more) == ("failed", [])
    assert "KeyError" in sentence
    assert "a fault of MSLFusion" in sentence
    assert "raise KeyError" in caplog.text


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (ask("no_such_request"), "no_such_request"),
        (ask("hello", "too much"), "positional argument"),
        (ask("decode_slice", 0, np.zeros((1,) * 5)), "shape"),
        ("no step", "'no step'"),
    ],
)
def test_what_cannot_be_asked_is_raised_in_the_generator(worker, told, step, words):
    def steps():
        try:
            yield step
        except Exception as error:
            return str(error)

    finish(told(worker, steps()))
    ((kind, text),) = told.calls
    assert kind == "done"
    assert words in text


def test_progress_and_warnings_are_passed_on_until_the_task_ends(worker, told):
    worker.held.add("devices")

    def steps():
        yield ask("devices")

    task = told(worker, steps())
    task.start()
    until(worker.waiting)
    worker.progress("count", 1, 4, 2.5)
    assert told.calls == [("progress", "count", 1, 4, 2.5)]
    call = worker.client.calls[-1]
    call.on_warning("Little memory is left.")
    assert told.calls[1:] == [("warning", "Little memory is left.")]
    task.cancel()
    call.on_progress({"stage": "count", "done": 2, "total": 4})
    call.on_warning("Still less.")
    assert told.calls[2:] == [("cancelled",)]


def test_a_part_that_cannot_be_taken_fails_the_task_and_stops_the_request(worker, told):
    worker.held.add("decode_volume")

    def steps():
        yield ask("decode_volume", 0.5, on_part=lambda part: [].pop())

    task = told(worker, steps())
    task.start()
    until(worker.waiting)
    worker.client.calls[-1].on_part(None)
    until(lambda: not task.active)
    assert told.calls[0][0] == "failed"
    assert "IndexError" in told.calls[0][1]
    assert worker.waiting() == []


def test_parts_come_before_the_result(worker, told):
    parts = []

    def steps():
        yield ask("open_model", "msl-ct-t1")
        yield ask("reconstruct", sensors="scan.h5", on_part=parts.append)
        yield ask("decode_volume", 0.5, on_part=parts.append)
        return len(parts)

    worker.sensors = {"geometry": {"size": [4, 3, 2]}}
    finish(told(worker, steps()))
    assert told.calls == [("done", 2)]


def test_faults_in_the_panel_and_in_cleaning_up_are_logged_and_stop_nothing(worker, caplog):
    def steps():
        try:
            yield later(10_000)
        finally:
            raise RuntimeError("cannot clean up")

    def shout():
        raise RuntimeError("cannot show it")

    task = Task(worker, steps(), on_cancelled=shout)
    task.start()
    settle()
    task.cancel()
    assert not task.active
    logged = [str(record.exc_info[1]) for record in caplog.records if record.levelno == logging.ERROR]
    assert logged == ["cannot clean up", "cannot show it"]
