"""The button Prepare of section 1: from scans to a training set, in a process of its own."""

import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from MSLFusionLib.errors import InputError
from MSLFusionPanel import install, paths
from MSLFusionPanel.words import as_sentence
from MSLFusionTrainingLib.prepare.settings import split_patients
from MSLFusionTrainingPanel import datawords
from MSLFusionTrainingPanel.command import finished
from MSLFusionTrainingPanel.pairs import Pairs, written
from MSLFusionTrainingPanel.parameters import DataSource

if TYPE_CHECKING:
    from MSLFusionTrainingPanel.data import DataSection


class Preparation:
    """Starts, shows and cancels a preparation. What a cancelled one has finished is kept for the next one."""

    def __init__(self, section: "DataSection") -> None:
        self._section = section
        self._panel = section.panel
        self._ui = section.ui
        self._failure = ""
        self._remark = ""
        self._tip = self._ui.prepareButton.toolTip
        self.draw_progress(None)
        section.on(self._ui.prepareButton, "clicked()", self.start)

    def forget(self) -> None:
        """What was tried is over."""
        self._failure = self._remark = ""

    def start(self) -> None:
        """Turn the scans into a training set, or cancel it."""
        button = self._ui.prepareButton
        if self._panel.runs(button):
            self._panel.cancel()
            return
        if self._panel.task is not None or not button.enabled:
            return
        problem = install.ready(self._panel.tell, self._panel.root)
        if problem:
            self._fail(problem)
            return
        self._failure = self._remark = ""
        output = self._section.parameters.data.output
        words = datawords.prepare_words(self._section.parameters.data, self._section.modalities)
        self._panel.run(button, self._steps(words), lambda _result: self._done(output), self._fail, _("Prepare"))

    def _steps(self, words: list[str]) -> Generator[Any, Any, Any]:
        """Steps of a task: the command, after the volumes of the scene were written for it."""
        data = self._section.parameters.data
        source, folder, modalities = data.source, data.folder, self._section.modalities
        temporary = None
        try:
            if source is DataSource.SCENE:
                patients = Pairs(self._section.parameters).patients(len(modalities))
                temporary = Path(tempfile.mkdtemp(prefix="mslfusion-", dir=slicer.app.temporaryPath))
                yield from written(patients, modalities, temporary)
                folder = str(temporary)
            scans = data.table if source is DataSource.TABLE else folder
            title = _("Prepare")
            return (
                yield from finished(
                    ["prepare", scans, *words], lambda *how: self._panel.show_progress(title, *how), self._warn
                )
            )
        finally:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)

    def _done(self, output: str) -> None:
        self._remark = ""
        self._section.set_written()
        if self._panel.parameters is not None:
            paths.remember(self._panel, self._ui.outputPath)
        self._panel.tell(_("Training set written: {name}.").format(name=os.path.basename(output)))

    def _warn(self, sentence: str) -> None:
        self._remark = as_sentence(sentence)
        self._panel.changed()

    def _fail(self, sentence: str) -> None:
        self._failure = as_sentence(sentence)
        self._panel.changed()

    def update(self) -> None:
        """The button, the shares, the output file and how far it is."""
        ui, data = self._ui, self._section.parameters.data
        if not data.source.prepared_here:
            for label in ("outputMessage", "prepareMessage"):
                self._section.message(label)
            return
        running = self._panel.runs(ui.prepareButton)
        if data.output:
            self._section.message("outputMessage", datawords.output_trouble(data.output))
        else:
            self._section.message("outputMessage", _("Choose the file that the training set is written to."), "needed")
        reason = self._why_not()
        ui.prepareButton.text = self._panel.cancel_text() if running else _("Prepare")
        ui.prepareButton.enabled = running or not reason
        ui.prepareButton.toolTip = (
            _("Stop; what is finished is kept for the next time.") if running else (reason or self._tip)
        )
        if running:
            self._section.message("prepareMessage", self._remark, "warning")
        elif self._failure:
            self._section.message("prepareMessage", self._failure, "failure")
        elif self._shares_trouble():
            self._section.message("prepareMessage", self._shares_trouble())
        elif not self._section.has_set and not reason:
            self._section.message("prepareMessage", _("Press Prepare to make the training set."), "needed")
        else:
            self._section.message("prepareMessage")

    def draw_progress(
        self, title: str | None, stage: Any = None, done: Any = None, total: Any = None, seconds_left: Any = None
    ) -> None:
        """How far the preparation is; no title: it has ended."""
        bar, info = self._ui.prepareProgressBar, self._ui.prepareInfo
        bar.setVisible(title is not None)
        bar.setRange(0, total or 0)
        bar.setValue(done or 0)
        info.text = "" if title is None else datawords.progress_in_words(done, total, seconds_left)
        info.setVisible(bool(info.text))

    def _why_not(self) -> str:
        """Why Prepare cannot be pressed; empty when it can."""
        if self._panel.task is not None and not self._panel.runs(self._ui.prepareButton):
            return _("Another job is running: wait for it or cancel it.")
        for label in ("modalitiesMessage", "scansMessage", "outputMessage"):
            if self._panel.messages.blocks(label):
                return self._panel.messages.text(label)
        if self._section.looking:
            return _("The scans are still being looked for.")
        return self._shares_trouble()

    def _shares_trouble(self) -> str:
        """Whether the shares leave nothing to train on."""
        data = self._section.parameters.data
        try:
            split_patients([], data.validation, data.test, data.splitSeed)
        except InputError as error:
            return as_sentence(str(error))
        if data.size % 16:
            return _("The slice size must be a multiple of 16, not {size}.").format(size=data.size)
        return ""
