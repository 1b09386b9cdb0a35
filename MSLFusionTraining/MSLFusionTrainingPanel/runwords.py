"""What the panel says of a run."""

import time
from collections.abc import Sequence
from pathlib import Path

from slicer.i18n import tr as _

from MSLFusionLib.console import clock
from MSLFusionPanel.words import as_sentence, size_in_words
from MSLFusionTrainingLib.runfolder import KILLED, Look
from MSLFusionTrainingLib.status import Status

_QUIET_S = 60.0
"""Seconds after which it is said when the training was heard of last."""
_STAGES = {
    "generate heads": _("generating heads"),
    "read training set": _("reading the training set"),
}
_LONGEST_PATH = 48


def state_in_words(look: Look) -> str:
    """How a run stands, in one or two sentences; "" where there is none."""
    if look.state == "none":
        return ""
    status = look.status
    if status is None:
        if look.state == "starting":
            return _("Starting ...")
        return _("A run at iteration {saved}; Resume goes on from there.").format(saved=look.saved)
    words = {
        "validating": _("Validating at iteration {iteration} of {iterations}."),
        "paused": _("Stopped at iteration {iteration} of {iterations}."),
        "finished": _("Finished after {iteration} iterations."),
        "failed": _("Failed at iteration {iteration} of {iterations}."),
        KILLED: _("It was killed at iteration {iteration} of {iterations}."),
    }
    if look.state == "starting":
        sentences = [_starting(status)]
    elif look.state == "training":
        sentences = [_training(status)]
    else:
        sentences = [words[look.state].format(iteration=status.iteration, iterations=status.iterations)]
    if look.stopping:
        sentences.append(_("It saves its state and stops."))
    if status.best_in_words:
        best = _("Best so far: {score} at iteration {iteration}.") if look.active else _best()
        sentences.append(best.format(score=status.best_in_words, iteration=status.best_iteration))
    if look.resumable and look.saved is not None:
        sentences.append(_("Resume continues from iteration {saved}.").format(saved=look.saved))
    if look.active and not status.here:
        sentences.append(_("It runs on {host}.").format(host=status.host))
    quiet = time.time() - status.updated
    if look.active and quiet > _QUIET_S:
        sentences.append(_("It has said nothing for {time}.").format(time=clock(quiet)))
    return " ".join(sentences)


def _best() -> str:
    return _("Best: {score} at iteration {iteration}.")


def _starting(status: Status) -> str:
    if not status.stage:
        return _("Starting ...")
    stage = _STAGES.get(status.stage, status.stage)
    return _("Starting: {stage}, {done} of {total}.").format(stage=stage, done=status.done, total=status.total)


def _training(status: Status) -> str:
    text = _("Training: iteration {iteration} of {iterations}")
    text = text.format(iteration=status.iteration, iterations=status.iterations)
    if status.seconds_per_iteration is not None:
        text += ", " + _speed(status.seconds_per_iteration)
    if status.seconds_left is not None:
        text += ", " + _("{time} left").format(time=clock(status.seconds_left))
    return text + "."


def _speed(seconds: float) -> str:
    if seconds < 0.1:
        return _("{number:.0f} ms each").format(number=1000 * seconds)
    return _("{number:.2g} s each").format(number=seconds)


def memory_in_words(look: Look) -> str:
    """On what it runs and how full its memory is; "" where nothing runs."""
    status = look.status
    if status is None or not look.active or not status.device_name:
        return ""
    if status.memory_used is None or not status.memory_total:
        return _("Device: {name}.").format(name=status.device_name)
    text = _("{name}: {used} of {total} of GPU memory in use, {own} by this training.")
    return text.format(
        name=status.device_name,
        used=size_in_words(status.memory_used),
        total=size_in_words(status.memory_total),
        own=size_in_words(status.memory_own or 0),
    )


def message(look: Look, log: Sequence[str]) -> tuple[str, str]:
    """(sentence, kind) about what went wrong with a run; ("", "info") where all is well."""
    status = look.status
    if look.state == "failed" and status is not None:
        return as_sentence(status.message or _("The training failed")), "failure"
    if look.state == KILLED:
        last = _last(log)
        if last and not last.startswith(("==", "  ")):  # the time that a stage took is no reason
            text = _("The training ended without a word; the last line of its log: {line}").format(line=last)
            return as_sentence(text), "warning"
        return _("The training ended without a word: it was killed, or the computer was switched off."), "warning"
    if look.state == "none" and "error:" in _last(log):
        return _sentence_of(_last(log)), "failure"
    if status is not None and status.message and look.state != "finished":
        return as_sentence(status.message), "warning"
    return "", "info"


def why_it_did_not_start(log: Sequence[str], code: int) -> str:
    """The last words of a process that ended before it could tell of itself."""
    last = _last(log)
    if not last or last.startswith("=="):
        return _("The training did not start: its process ended at once (exit code {code}).").format(code=code)
    return _("The training did not start: {reason}").format(reason=_sentence_of(last))


def trouble(folder: Path, reason: str) -> str:
    """Why the folder cannot be looked at."""
    if not reason:
        return _("The disk of {folder} does not answer.").format(folder=short(str(folder)))
    return as_sentence(_("{folder} cannot be read: {reason}").format(folder=short(str(folder)), reason=reason))


def short(path: str) -> str:
    """A path that fits into the panel: its end."""
    return path if len(path) <= _LONGEST_PATH else "..." + path[-_LONGEST_PATH + 3 :]


def _last(log: Sequence[str]) -> str:
    return next((line.rstrip() for line in reversed(log) if line.strip()), "")


def _sentence_of(line: str) -> str:
    return as_sentence(line.removeprefix("mslfusion: error: "))
