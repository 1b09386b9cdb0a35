"""Training runs from the command line beside training itself: in the background, their status, stopping, killing."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from MSLFusionLib.errors import Cancelled, InputError

_CONTROLS = ("status", "stop", "kill")


def add_control(parser: Any) -> None:
    """The flags of `mslfusion train` that are about the run of --output instead of training it here."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--background", action="store_true", help="train in a process of its own, with OUTPUT/train.log")
    group.add_argument("--status", action="store_true", help="only tell how the run in OUTPUT stands")
    group.add_argument("--stop", action="store_true", help="let the run in OUTPUT save its state and end")
    group.add_argument("--kill", action="store_true", help="end the run in OUTPUT at once")


def asked(args: Any) -> bool:
    """Whether the words are about a run, and not to train."""
    return any(getattr(args, name) for name in _CONTROLS)


def run(args: Any, context: Any) -> None:
    """--status, --stop and --kill."""
    from MSLFusionTrainingLib import runfolder

    folder, say = args.output, context.console.result
    if args.stop:
        runfolder.request_stop(folder)
        say({"output": str(folder), "stopping": True}, f"The training in {folder} saves its state and ends.")
        return
    look = runfolder.kill(folder) if args.kill else runfolder.look(folder)
    if look.state == "none":
        raise InputError(f"{folder} holds no training run: give the --output folder of 'mslfusion train'.")
    facts = {} if look.status is None else asdict(look.status)
    state = runfolder.KILLED if args.kill else look.state
    values = {"output": str(folder), **facts, "state": state, "saved": look.saved, "stopping": look.stopping}
    say(values, _in_words(state, look))


def _in_words(state: str, look: Any) -> str:
    from MSLFusionLib.console import clock

    words = [state + (", about to stop" if look.stopping else "")]
    if look.status is not None:
        one = look.status
        words.append(f"iteration {one.iteration} of {one.iterations}")
        words += [f"{one.stage} {one.done} of {one.total}"] if one.stage and look.active else []
        words += [f"{clock(one.seconds_left)} left"] if one.seconds_left is not None and look.active else []
        words += [f"best {one.best_in_words} at {one.best_iteration}"] if one.best_in_words else []
        words += [f"{one.memory_used / 2**30:.1f} GB of the GPU in use"] if one.memory_used and look.active else []
        words += [f"process {one.pid} on {one.host}"] if look.active else []
        words += [f"heard of {max(time.time() - one.updated, 0):.0f} s ago"] if look.active else []
        words += [one.message] if one.message else []
    if not look.active and look.saved is not None and state != "finished":
        words.append(f"it goes on from iteration {look.saved}")
    return "; ".join(words)


def run_in_background(args: Any, context: Any) -> None:
    """--background: the same words without it, in a process that nobody's end ends."""
    from MSLFusionTrainingLib.launch import own_command, start
    from MSLFusionTrainingLib.runfolder import TRAIN_LOG

    words = [word for word in context.command_line[1:] if word not in ("--background", "--json")]
    process = start(own_command(words), args.output)
    context.console.result(
        {"output": str(args.output), "pid": process.pid},
        f"Training in the process {process.pid}; what it says is in {args.output / TRAIN_LOG}. "
        "See mslfusion train --status, --stop and --kill.",
    )
    process.returncode = 0  # it is left alone: nobody waits for it


def train(args: Any, config: Any, context: Any, processes: Any, make: Callable[[Any], Any]) -> None:
    """Train in these processes, watched, and tell what came of it: what all methods have in common.

    make: gives the trainer from a job; it has `config`, `iteration`, `best` (score and iteration), `device`,
    `resume(job)` and `run(job)`.
    """
    from MSLFusionLib.progress import Job

    with watched(args, config, context, processes) as run:
        # One process speaks for all; any of them may be told to stop.
        job = run.job if processes.first else Job(cancelled=run.job.cancelled)
        trainer = make(job)
        if trainer.resume(job) and processes.first:
            context.console.say(f"Going on at iteration {trainer.iteration} of {config.iterations}.")
        run.follow(trainer)
        trainer.run(job)
    if not processes.first:
        return
    if run.asked:
        outcome = {"output": str(args.output), "iterations": run.iteration, "stopped": True}
        text = f"Stopped as asked at iteration {run.iteration}: the same command goes on from there."
        context.console.result(outcome, text)
    else:
        outcome = {"output": str(args.output), "iterations": trainer.iteration, "best": trainer.best}
        context.console.result(outcome, f"Trained: {args.output}")


@contextmanager
def watched(args: Any, config: Any, context: Any, processes: Any) -> Iterator[Any]:
    """A Watched run in the first process; in the others what has the same `job`, `asked` and `follow`.

    Leaves quietly when the run was asked to stop from outside. Raises InputError, in all processes, when another
    training has the folder.
    """
    from MSLFusionLib.cli import explained
    from MSLFusionTrainingLib.watched import Watched

    if not processes.first:
        problem = processes.agree("")
        if problem:
            raise InputError(problem)
        follower = _Follower(context.job)
        try:
            yield follower
        except Cancelled:
            if context.job.cancelled is not None and context.job.cancelled():
                raise
            follower.asked = True
        return
    cache = str(args.cache.resolve()) if args.cache else ""
    run = Watched(
        args.output, config.name, config.iterations, context.job, lambda e: explained(e)[0], args.device, cache
    )
    try:
        run.begin()
    except InputError as error:
        processes.agree(str(error))
        raise
    with run:
        processes.agree("")
        yield run


class _Follower:
    """What the other processes of a training have in place of a Watched run: they do as the first one does."""

    def __init__(self, job: Any) -> None:
        self.job, self.asked = job, False

    def follow(self, trainer: Any) -> None:
        """The first process tells of the training."""
