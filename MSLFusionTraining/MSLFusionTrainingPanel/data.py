"""Section 1: what the network is trained on, and how scans become a training set."""

import os
import shutil
import tempfile
from collections.abc import Generator, Hashable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MSLFusionLib.errors import InputError
from MSLFusionPanel import install, paths
from MSLFusionPanel.section import Section
from MSLFusionPanel.words import as_sentence
from MSLFusionTrainingLib.prepare.settings import PrepareSettings, split_patients
from MSLFusionTrainingPanel import datawords
from MSLFusionTrainingPanel.command import Inquiry, finished
from MSLFusionTrainingPanel.pairs import Pairs, written
from MSLFusionTrainingPanel.pairtable import PairTable
from MSLFusionTrainingPanel.parameters import DataSource
from MSLFusionTrainingPanel.patients import PatientsTable

HEAD_CONTRASTS = ("ct", "t1", "t2", "pet")
"""What generated heads show."""
USUAL = ("ct t1", "ct t2", "t1 t2", "ct pet", "t1 pet", "ct t1 t2")
_FRAMES = {
    "headsFrame": (DataSource.HEADS,),
    "folderFrame": (DataSource.FOLDER,),
    "tableFrame": (DataSource.TABLE,),
    "pairsFrame": (DataSource.SCENE,),
    "setFrame": (DataSource.SET,),
}
_PATHS = {"scansFolderPath": "folder", "scansTablePath": "table", "outputPath": "output", "setPath": "set"}


class DataSection(Section):
    """The source of the images, the preparation of scans, and what the training set holds."""

    def setup(self) -> None:
        """Connect the widgets."""
        ui = self.ui
        self._scans = Inquiry(self.panel.changed)
        self._set = Inquiry(self.panel.changed)
        self._failure = ""
        self._remark = ""
        self._tip = ui.prepareButton.toolTip
        self._page_tip = ui.qualityPageButton.toolTip
        self._patients = PatientsTable(ui.patientsTable)
        self._pair_table = PairTable(self)
        for widget, name in _PATHS.items():
            paths.listen(self, getattr(ui, widget), lambda path, name=name: self._take_path(name, path))
        for text in USUAL:
            ui.modalitiesSelector.addItem(datawords.modalities_in_words(text.split()), text)
        ui.modalitiesSelector.setInsertPolicy(qt.QComboBox.NoInsert)
        self.on(ui.modalitiesSelector, "editTextChanged(QString)", self._take_modalities)
        self.on(ui.prepareButton, "clicked()", self.prepare)
        self.on(ui.qualityPageButton, "clicked()", self.open_page)

    def enter(self) -> None:
        """Files may have changed meanwhile: `update` looks at them again."""

    def update(self) -> None:
        """Show what was chosen, what is wrong with it and what there is."""
        data, ui = self.parameters.data, self.ui
        source = data.source
        for name, sources in _FRAMES.items():
            getattr(ui, name).setVisible(source in sources)
        ui.prepareFrame.setVisible(source.prepared_here)
        for widget, name in _PATHS.items():
            paths.show(getattr(ui, widget), getattr(data, name))
        self._update_modalities()
        if source is DataSource.SCENE:
            self._pair_table.update()
        self._ask()
        self._update_scans()
        self._update_set()
        self._update_prepare()

    def scene_closed(self) -> None:
        """The volumes are gone; files are looked at again."""
        self._forget()

    def cleanup(self) -> None:
        """Nobody wants to know any more."""
        self._forget()

    @property
    def modalities(self) -> tuple[str, ...]:
        """The contrasts in their order: as chosen, or as the table's columns have them."""
        if self.parameters.data.source is DataSource.TABLE and self._scans.answer is not None:
            return tuple(self._scans.answer["modalities"])
        return tuple(self.parameters.data.modalities.split())

    def decided(self) -> dict[str, Any]:
        """The settings that follow from this section; see settings.Settings."""
        if self.parameters.data.source is DataSource.HEADS:
            return {"data": "", "modalities": list(self.modalities)}
        found = self._set.answer
        if found is None:
            return {"data": str(self._set_path() or "")}
        return {
            "data": str(self._set_path()),
            "modalities": list(found["modalities"]),
            "size": found["size"],
            "pixel_mm": found["pixel_mm"],
        }

    def use_set(self, path: str) -> None:
        """Train on a training set that is there."""
        self.parameters.data.source = DataSource.SET
        self.parameters.data.set = path

    def prepare(self) -> None:
        """Turn the scans into a training set, or cancel it."""
        button = self.ui.prepareButton
        if self.panel.runs(button):
            self.panel.cancel()
            return
        if self.panel.task is not None or not button.enabled:
            return
        problem = install.ready(self.panel.tell, self.panel.root)
        if problem:
            self._fail(problem)
            return
        self._failure = self._remark = ""
        output = self.parameters.data.output
        words = datawords.prepare_words(self.parameters.data, self.modalities)
        self.panel.run(button, self._steps(words), lambda _result: self._done(output), self._fail, _("Prepare"))

    def open_page(self) -> None:
        """Show the quality page in the web browser."""
        page = self._page()
        if page:
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(page))

    def _steps(self, words: list[str]) -> Generator[Any, Any, Any]:
        """Steps of a task: the command, after the volumes of the scene were written for it."""
        data = self.parameters.data
        source, folder, modalities = data.source, data.folder, self.modalities
        temporary = None
        try:
            if source is DataSource.SCENE:
                patients = Pairs(self.parameters).patients(len(modalities))
                temporary = Path(tempfile.mkdtemp(prefix="mslfusion-", dir=slicer.app.temporaryPath))
                yield from written(patients, modalities, temporary)
                folder = str(temporary)
            scans = data.table if source is DataSource.TABLE else folder
            title = _("Prepare")
            return (
                yield from finished(
                    ["prepare", scans, *words], lambda *how: self.panel.show_progress(title, *how), self._warn
                )
            )
        finally:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)

    def _done(self, output: str) -> None:
        self._remark = ""
        self._set.forget()
        if self.panel.parameters is not None:
            paths.remember(self.panel, self.ui.outputPath)
        self.panel.tell(_("Training set written: {name}.").format(name=os.path.basename(output)))

    def _warn(self, sentence: str) -> None:
        self._remark = as_sentence(sentence)
        self.panel.changed()

    def _fail(self, sentence: str) -> None:
        self._failure = as_sentence(sentence)
        self.panel.changed()

    def _take_path(self, name: str, path: str) -> None:
        if getattr(self.parameters.data, name) != path:
            setattr(self.parameters.data, name, path)

    def _take_modalities(self, text: str) -> None:
        names = " ".join(datawords.modalities_of(text))
        if names != self.parameters.data.modalities:
            self.parameters.data.modalities = names

    def _update_modalities(self) -> None:
        """The selector, and what is wrong with the modalities or follows from them."""
        ui, source = self.ui, self.parameters.data.source
        chosen = source not in (DataSource.SET, DataSource.TABLE)
        ui.modalitiesSelector.setVisible(chosen)
        ui.modalitiesSelectorLabel.setVisible(chosen)
        names = tuple(self.parameters.data.modalities.split())
        if " ".join(datawords.modalities_of(ui.modalitiesSelector.currentText)) != " ".join(names):
            ui.modalitiesSelector.setCurrentText(datawords.modalities_in_words(names))
        problem = self._modalities_problem(names) if chosen else ""
        used = self._set.answer["modalities"] if self._set.answer is not None and not chosen else names
        remark = "" if datawords.for_the_panel(used) or problem else datawords.elsewhere(used)
        self.message("modalitiesMessage", problem or remark, "error" if problem else "info")

    def _modalities_problem(self, names: tuple[str, ...]) -> str:
        try:
            PrepareSettings(modalities=names)
        except InputError as error:
            return as_sentence(str(error))
        unknown = [name for name in names if name not in HEAD_CONTRASTS]
        if unknown and self.parameters.data.source is DataSource.HEADS:
            return _("Generated heads have no {name}: choose among {known}.").format(
                name=unknown[0].upper(), known=datawords.modalities_in_words(HEAD_CONTRASTS, _(", "))
            )
        return ""

    def _scans_path(self) -> str:
        data = self.parameters.data
        return {DataSource.FOLDER: data.folder, DataSource.TABLE: data.table}.get(data.source, "")

    def _set_path(self) -> Path | None:
        """The training set, None where there is none to be looked at."""
        data = self.parameters.data
        text = data.set if data.source is DataSource.SET else data.output if data.source.prepared_here else ""
        return Path(text) if text and os.path.isabs(text) and os.path.isfile(text) else None

    def _ask(self) -> None:
        """Look into the folder, the table and the training set, once for each state of them."""
        scans = self._scans_path()
        if scans and os.path.isabs(scans) and not self._scans_trouble() and not self._modalities_wrong():
            words = ["prepare", scans, "--list"]
            if self.parameters.data.source is DataSource.FOLDER:
                words += ["--modalities", *self.modalities]
            self._scans.ask((*words, _state(scans)), words)
        else:
            self._scans.forget()
        path = self._set_path()
        # While it is written it is not looked at: HDF5 does not like to be replaced under its readers.
        if path is None:
            self._set.forget()
        elif not self.panel.runs(self.ui.prepareButton):
            self._set.ask((str(path), _state(str(path))), ["prepare", str(path), "--list"])

    def _modalities_wrong(self) -> bool:
        return self.panel.messages.kind("modalitiesMessage") == "error"

    def _scans_trouble(self) -> str:
        """Why a folder or table cannot be looked into, as far as can be told at once."""
        text, source = self._scans_path(), self.parameters.data.source
        if source is DataSource.FOLDER:
            return datawords.folder_trouble(text)
        return datawords.file_trouble(text, _("table")) if source is DataSource.TABLE else ""

    def _update_scans(self) -> None:
        """What was found in the folder or table, and what is missing."""
        source, ui = self.parameters.data.source, self.ui
        info = ""
        if source in (DataSource.FOLDER, DataSource.TABLE):
            trouble = self._scans_trouble() or self._scans.problem
            if not self._scans_path():
                folder = source is DataSource.FOLDER
                choose = _("Choose a folder of scans.") if folder else _("Choose a table of scans.")
                self.message("scansMessage", choose, "needed")
            else:
                self.message("scansMessage", trouble or self._incomplete(), "error" if trouble else "warning")
            if self._scans.pending:
                info = _("Looking for scans ...")
            elif self._scans.answer is not None:
                info = datawords.found_in_words(self._scans.answer)
        elif source is DataSource.SCENE:
            pairs = Pairs(self.parameters)
            wrong = self._modalities_wrong()
            problem = "" if wrong else pairs.problem(self.modalities)
            empty = not problem and not pairs.patients(len(self.modalities))
            choose = _("Choose the volumes of at least one patient.")
            self.message("scansMessage", choose if empty else problem, "needed" if empty else "error")
        else:
            self.message("scansMessage")
        ui.scansInfo.text = info
        ui.scansInfo.setVisible(bool(info))

    def _incomplete(self) -> str:
        """Patients that will be left out, in one sentence."""
        rows = [] if self._scans.answer is None else self._scans.answer["patients"]
        return datawords.incomplete([row for row in rows if row["problem"]])

    def _update_set(self) -> None:
        """The training set and its patients; before there is one, the patients that were found."""
        data, ui = self.parameters.data, self.ui
        found, info = self._set.answer, ""
        problem, kind = "", "error"
        if data.source is DataSource.SET:
            if not data.set:
                problem, kind = _("Choose a training set."), "needed"
            else:
                problem = datawords.file_trouble(data.set, _("training set")) or self._set.problem
        if found is not None:
            info = datawords.set_in_words(found)
            problem = problem or self._other_modalities(found)
            if not problem and not any(one["split"] == "train" for one in found["patients"]):
                problem = _("The set has no patient to train on.")
        elif self._set.pending:
            info = _("Looking into the training set ...")
        remark = "" if found is None or problem else datawords.remark_on_set(found)
        self.message("setMessage", problem or remark, kind if problem else "warning")
        ui.setInfo.text = info
        ui.setInfo.setVisible(bool(info))
        self._patients.show(found if found is not None else self._scans.answer)
        page = self._page()
        ui.qualityPageButton.setVisible(found is not None)
        ui.qualityPageButton.enabled = bool(page)
        ui.qualityPageButton.toolTip = self._page_tip if page else _("The page was not found beside the training set.")

    def _other_modalities(self, found: Any) -> str:
        """Whether the set at hand is not the one that is asked for."""
        wanted = self.modalities
        if not self.parameters.data.source.prepared_here or not wanted or list(wanted) == found["modalities"]:
            return ""
        return _("The set holds {there}: press Prepare for {wanted}, or choose another file.").format(
            there=datawords.modalities_in_words(found["modalities"]), wanted=datawords.modalities_in_words(wanted)
        )

    def _page(self) -> str:
        return "" if self._set.answer is None else str(self._set.answer["page"])

    def _update_prepare(self) -> None:
        """The button, the shares, the output file and how far it is."""
        ui, data = self.ui, self.parameters.data
        if not data.source.prepared_here:
            for label in ("outputMessage", "prepareMessage"):
                self.message(label)
            return
        running = self.panel.runs(ui.prepareButton)
        if data.output:
            self.message("outputMessage", datawords.output_trouble(data.output))
        else:
            self.message("outputMessage", _("Choose the file that the training set is written to."), "needed")
        reason = self._why_not()
        ui.prepareButton.text = self.panel.cancel_text() if running else _("Prepare")
        ui.prepareButton.enabled = running or not reason
        ui.prepareButton.toolTip = (
            _("Stop; what is finished is kept for the next time.") if running else (reason or self._tip)
        )
        if running:
            self.message("prepareMessage", self._remark, "warning")
        elif self._failure:
            self.message("prepareMessage", self._failure, "failure")
        elif self._shares_trouble():
            self.message("prepareMessage", self._shares_trouble())
        elif self._set_path() is None and not reason:
            self.message("prepareMessage", _("Press Prepare to make the training set."), "needed")
        else:
            self.message("prepareMessage")

    def draw_progress(self, title: str | None, stage: Any, done: Any, total: Any, seconds_left: Any) -> None:
        """How far the preparation is; no title: it has ended."""
        bar, info = self.ui.prepareProgressBar, self.ui.prepareInfo
        bar.setVisible(title is not None)
        bar.setRange(0, total or 0)
        bar.setValue(done or 0)
        info.text = "" if title is None else datawords.progress_in_words(done, total, seconds_left)
        info.setVisible(bool(info.text))

    def _why_not(self) -> str:
        """Why Prepare cannot be pressed; empty when it can."""
        if self.panel.task is not None and not self.panel.runs(self.ui.prepareButton):
            return _("Another job is running: wait for it or cancel it.")
        for label in ("modalitiesMessage", "scansMessage", "outputMessage"):
            if self.panel.messages.blocks(label):
                return self.panel.messages.text(label)
        if self._scans.pending:
            return _("The scans are still being looked for.")
        return self._shares_trouble()

    def _shares_trouble(self) -> str:
        """Whether the shares leave nothing to train on."""
        data = self.parameters.data
        try:
            split_patients([], data.validation, data.test, data.splitSeed)
        except InputError as error:
            return as_sentence(str(error))
        if data.size % 16:
            return _("The slice size must be a multiple of 16, not {size}.").format(size=data.size)
        return ""

    def _forget(self) -> None:
        self._scans.forget()
        self._set.forget()
        self._failure = self._remark = ""


def _state(path: str) -> Hashable:
    """Changes when the file does, or when something is added to the folder or to a folder in it."""
    try:
        own = os.stat(path)
        if not os.path.isdir(path):
            return own.st_mtime_ns, own.st_size
        with os.scandir(path) as entries:
            inside = sorted((one.name, one.stat().st_mtime_ns) for one in entries if one.is_dir())
        return own.st_mtime_ns, tuple(inside)
    except OSError:
        return None
