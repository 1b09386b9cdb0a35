"""The Apply button of every method: whether it can be pressed, progress, and the arrangements of the views."""

from collections.abc import Collection
from typing import Any, Protocol

from slicer.i18n import tr as _

from MSLFusionPanel import install, layouts
from MSLFusionPanel.methodparameters import Method
from MSLFusionPanel.section import Section
from MSLFusionPanel.words import as_sentence


class Job(Protocol):
    """What one method does."""

    def start(self) -> None:
        """Run what Apply stands for."""

    def learned(self) -> bool:
        """Whether PyTorch is needed for it."""

    def shown(self) -> tuple[Any, Any, Any]:
        """The two volumes and the result for the views, None where one is not there."""


class ApplySection(Section):
    """Apply <-> Cancel, and what is beside it. It comes last: what the other sections say decides."""

    def setup(self) -> None:
        """Connect the widgets."""
        self.on(self.ui.applyButton, "clicked()", self.apply)
        self.on(self.ui.sideBySideButton, "clicked()", self.show_side_by_side)
        self.on(self.ui.hybridLargeButton, "clicked()", self.show_result)

    def update(self) -> None:
        """Whether Apply can be pressed, and why not."""
        msl = self.parameters.choice.method is Method.MSL
        self.ui.hybridLargeButton.text = _("Hybrid large") if msl else _("Result large")
        self.ui.sideBySideButton.text = _("CT | MR | hybrid") if msl else _("Side by side")
        shown = self.job.shown()
        self.ui.hybridLargeButton.enabled = shown[2] is not None
        self.ui.sideBySideButton.enabled = any(one is not None for one in shown)
        self._update_button()

    @property
    def job(self) -> Job:
        """Of the chosen method."""
        return self.panel.jobs[self.parameters.choice.method]

    def apply(self) -> None:
        """Apply, or Cancel while it runs."""
        if self.panel.runs(self.ui.applyButton):
            self.panel.cancel()
        elif self.ready(self.ui.applyButton):
            self.job.start()

    def ready(self, button: Any) -> bool:
        """Whether the button may start its job, after what is missing was offered to be installed."""
        if not self._may_start(button):
            return False
        self.message("applyMessage")
        here = self.logic.worker.where == "local" and self.job.learned()
        problem = install.ready(self.panel.tell) if here else ""
        if problem:
            self.failed(problem)
            return False
        return self._may_start(button)  # the user was asked something meanwhile

    def failed(self, sentence: str) -> None:
        """What was tried did not succeed."""
        self.message("applyMessage", as_sentence(sentence), "failure")

    def show_side_by_side(self) -> None:
        """CT | MR | hybrid, or what the method has in their places."""
        layouts.side_by_side(*self.job.shown())

    def show_result(self) -> None:
        """The result alone."""
        result = self.job.shown()[2]
        if result is not None:
            layouts.hybrid_large(result)

    def show_progress(
        self,
        title: str | None = None,
        stage: str | None = None,
        done: int | None = None,
        total: int | None = None,
        seconds_left: float | None = None,
    ) -> None:
        """Progress of the long job; no title: it ended."""
        bar = self.ui.progressBar
        bar.setVisible(title is not None)
        if title is None:
            self.message("progressInfo")
            return
        sentence = _("{title}: starting.").format(title=title)
        if stage is not None:
            sentence = f"{title}: {_stage_words(stage)}."
        known = done is not None and total is not None and total > 0
        bar.maximum = total if known else 0  # 0: busy
        if known:
            done = min(max(done, 0), total)
            bar.value = done
            words = {"title": title, "stage": _stage_words(str(stage)), "done": done, "total": total}
            left = _time(seconds_left)
            sentence = _("{title}: {stage}, {done} of {total}").format(**words)
            sentence += _(", {time} left.").format(time=left) if left else "."
        self.message("progressInfo", sentence, "info")

    def reason(self, others: Collection[str] = ()) -> str:
        """Why nothing can be started; empty when it can. others: labels of messages that do not matter."""
        messages = self.panel.messages
        errors = [sentence for sentence in messages.errors() if sentence not in map(messages.text, others)]
        if self.panel.task is not None:
            return _("Another job is running: wait for it or cancel it.")
        return errors[0] if errors else ""

    def _may_start(self, button: Any) -> bool:
        """Whether everything is as the button needs it at this very moment."""
        if self.panel.parameters is None:
            return False
        self.panel.update()
        return bool(button.enabled)

    def _update_button(self) -> None:
        button = self.ui.applyButton
        if self.panel.runs(button):
            button.text, button.enabled = self.panel.cancel_text(), True
            button.toolTip = _("Stop; the scene stays as it was.")
            return
        button.text = _("Apply")
        reason = self.reason()
        button.enabled = not reason
        button.toolTip = reason or _("Compute with the settings above.")
        if reason and not self.panel.runs(self.ui.compareAllButton):
            failed = self.panel.messages.kind("applyMessage") == "failure"
            if not failed or self.panel.messages.errors():
                self.message("applyMessage", _("Not ready: {reason}").format(reason=reason), "info")
        elif self.panel.messages.kind("applyMessage") == "info":
            self.message("applyMessage")


def _stage_words(stage: str) -> str:
    """A stage of the library's jobs in words for people."""
    words = {
        "prepare": _("Preparing"),
        "measure": _("Measuring"),
        "reconstruct": _("Encoding slices"),
        "decode": _("Decoding slices"),
        "compare": _("Comparing"),
        "sensor images": _("Making sensor images"),
        "optimise lambda": _("Searching"),
        "trust maps": _("Reconstructing from parts of the data"),
        "ground truth": _("Fetching what was measured"),
        "open model": _("Opening the model"),
        "resample": _("Resampling"),
        "download": _("Downloading"),
        "generate head": _("Slices of the head"),
        "find start": _("Looking for a start"),
        "read": _("Reading"),
        "prepare data consistency": _("Preparing data consistency"),
        "data consistency of the MR": _("Data consistency of the MR"),
        "total variation": _("Reconstructing iteratively"),
        "pyramid": _("Scales of the pyramid"),
        "wavelets": _("Scales of the wavelets"),
        "guided filter": _("Filtering"),
        "tokens": _("The whole volume at once"),
        "voxels": _("Blocks of the volume"),
        "restore": _("Restoring slices"),
    }
    return words.get(stage, stage.capitalize())


def _time(seconds: float | None) -> str:
    """A duration as people say it; empty where it is not known, or so long that nobody would believe it."""
    if seconds is None or not 0 <= seconds < 48 * 3600:  # not a number is not between them, either
        return ""
    if seconds < 90:
        return _("{n} s").format(n=max(1, round(seconds)))
    if seconds < 90 * 60:
        return _("{n} min").format(n=round(seconds / 60))
    return _("{n} h").format(n=round(seconds / 3600))
