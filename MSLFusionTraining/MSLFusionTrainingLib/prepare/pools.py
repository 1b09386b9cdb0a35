"""Doing patients one after another, in processes of this machine, or on a Dask cluster.

Each way yields the outcomes as they come. A process that dies costs its patient only.
"""

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from MSLFusionLib.errors import InputError
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionTrainingLib.prepare.patient import Outcome, prepare_patient
from MSLFusionTrainingLib.prepare.settings import Patient

Prepare = Callable[[Patient, Any, frozenset[str], Job], Outcome]
"""Prepares a patient by settings, unless its key is among the known ones: `prepare_patient` for slices."""
_ASK_S = 0.3
_CONNECT_S = 15


def outcomes(
    patients: Sequence[Patient],
    settings: Any,
    known: frozenset[str],
    workers: int,
    dask: str | None,
    job: Job,
    do: Prepare = prepare_patient,
) -> Iterator[Outcome]:
    """The outcome of each patient, in the order in which they are done. Raises Cancelled through `job`.

    do: what prepares one, a function that other processes can import. dask: address of a scheduler whose workers see
    the scans under the same paths; then `workers` does not count.
    """
    if dask is not None:
        yield from _on_cluster(patients, settings, known, dask, job, do)
    elif workers > 1 and len(patients) > 1:
        yield from _in_processes(patients, settings, known, workers, job, do)
    else:
        for patient in patients:
            job.check()
            yield do(patient, settings, known, job)


def _in_processes(
    patients: Sequence[Patient], settings: Any, known: frozenset[str], workers: int, job: Job, do: Prepare
) -> Iterator[Outcome]:
    """A fresh process for each patient, so that memory comes back and one that is killed is known by its patient."""
    context = multiprocessing.get_context("spawn")
    waiting = list(reversed(patients))
    running: dict[Connection, tuple[Any, Patient]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                patient = waiting.pop()
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(sender, do, patient, settings, known), daemon=True)
                process.start()
                sender.close()
                running[receiver] = (process, patient)
            ready = wait(list(running), timeout=_ASK_S)
            job.check()
            for receiver in [one for one in running if one in ready]:
                process, patient = running.pop(receiver)
                yield _received(receiver, process, patient)
    finally:
        for process, _ in running.values():
            process.terminate()
            process.join()


def _work(sender: Connection, do: Prepare, patient: Patient, settings: Any, known: frozenset[str]) -> None:
    """What a process does; Ctrl-C is for the one that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sender.send(do(patient, settings, known, NO_JOB))
    sender.close()


def _received(receiver: Connection, process: Any, patient: Patient) -> Outcome:
    try:
        outcome: Outcome = receiver.recv()
    except EOFError:
        process.join()
        return Outcome(
            patient.id,
            problem=f"Its process was ended from outside (exit code {process.exitcode}): the memory may be too small, "
            "use fewer --workers.",
        )
    finally:
        receiver.close()
    process.join()
    return outcome


def _on_cluster(
    patients: Sequence[Patient], settings: Any, known: frozenset[str], address: str, job: Job, do: Prepare
) -> Iterator[Outcome]:
    client = _client(address)
    try:
        pending = {client.submit(do, one, settings, known, pure=False, retries=1): one for one in patients}
        try:
            while pending:
                done = [future for future in pending if future.done()]
                for future in done:
                    patient = pending.pop(future)
                    yield _gathered(future, patient)
                if not done:
                    job.check()
                    time.sleep(_ASK_S)
        finally:
            client.cancel(list(pending))
    finally:
        client.close()


def _gathered(future: Any, patient: Patient) -> Outcome:
    try:
        outcome: Outcome = future.result()
    except Exception as error:  # the worker lacks our package, was lost, or is older than we are
        return Outcome(patient.id, problem=f"The Dask worker failed: {type(error).__name__}: {error}.")
    return outcome


def _client(address: str) -> Any:
    try:
        from distributed import Client
    except ModuleNotFoundError:
        raise InputError("--dask needs Dask: install it with pip install distributed, or do without --dask.") from None
    make: Callable[..., Any] = Client
    try:
        return make(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"No Dask scheduler answers at {address}: {error}.") from error
