"""Section 1: what the network is trained on, and how scans become a training set."""

import os
import time
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from MSLFusionLib.errors import InputError
from MSLFusionPanel import install, paths
from MSLFusionPanel.section import Section
from MSLFusionPanel.words import as_sentence
from MSLFusionTrainingLib.config import CONTRASTS
from MSLFusionTrainingLib.prepare.settings import PrepareSettings
from MSLFusionTrainingPanel import datawords
from MSLFusionTrainingPanel.command import Inquiry
from MSLFusionTrainingPanel.pairs import Pairs
from MSLFusionTrainingPanel.pairtable import PairTable
from MSLFusionTrainingPanel.parameters import DataSource
from MSLFusionTrainingPanel.patients import PatientsTable
from MSLFusionTrainingPanel.preparation import Preparation

USUAL = ("ct t1", "ct t2", "t1 t2", "ct pet", "t1 pet", "ct t1 t2")
_FRESH_S = 3.0
"""Seconds in which files are not looked at again: they may lie on a slow disk."""
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
        self._states: dict[str, tuple[float, Hashable]] = {}
        self._lacking = False
        self._usual = ""
        self.preparation = Preparation(self)
        self._page_tip = ui.qualityPageButton.toolTip
        self._patients = PatientsTable(ui.patientsTable)
        self._pair_table = PairTable(self)
        for widget, name in _PATHS.items():
            paths.listen(self, getattr(ui, widget), lambda path, name=name: self._take_path(name, path))
        for text in USUAL:
            ui.modalitiesSelector.addItem(datawords.modalities_in_words(text.split()), text)
        ui.modalitiesSelector.setInsertPolicy(qt.QComboBox.NoInsert)
        self.on(ui.modalitiesSelector, "editTextChanged(QString)", self._take_modalities)
        self.on(ui.qualityPageButton, "clicked()", self.open_page)

    def enter(self) -> None:
        """Files may have changed meanwhile."""
        self._states.clear()

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
        self.preparation.update()

    def node_leaves(self, node: Any) -> None:
        """Nothing is chosen where the volume was: a selector would go on to another one by itself."""
        self._pair_table.drop(node)

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
            return {"data": str(self.set_path() or "")}
        return {
            "data": str(self.set_path()),
            "modalities": list(found["modalities"]),
            "size": found["size"],
            "pixel_mm": found["pixel_mm"],
        }

    def use_set(self, path: str) -> None:
        """Train on a training set that is there."""
        self.parameters.data.source = DataSource.SET
        self.parameters.data.set = path

    @property
    def looking(self) -> bool:
        """Whether the scans are still being looked for."""
        return self._scans.pending

    def set_path(self) -> Path | None:
        """The training set, None where there is none to be looked at."""
        data = self.parameters.data
        text = data.set if data.source is DataSource.SET else data.output if data.source.prepared_here else ""
        return Path(text) if text and os.path.isabs(text) and os.path.isfile(text) else None

    @property
    def has_set(self) -> bool:
        """Whether there is a training set, as far as it is known yet."""
        return self.set_path() is not None and not self._set.problem

    def set_written(self) -> None:
        """The training set is another one now."""
        self._states.clear()
        self._set.forget()

    def open_page(self) -> None:
        """Show the quality page in the web browser."""
        page = self._page()
        if page:
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(page))

    def _take_path(self, name: str, path: str) -> None:
        data = self.parameters.data
        if getattr(data, name) != path:
            setattr(data, name, path)
        scans = name in ("folder", "table") and os.path.isabs(path) and os.path.exists(path)
        if scans and data.output in ("", self._usual):
            data.output = self._usual = datawords.usual_output(path)

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
        unknown = [name for name in names if name not in CONTRASTS]
        if unknown and self.parameters.data.source is DataSource.HEADS:
            return _("Generated heads have no {name}: choose among {known}.").format(
                name=unknown[0].upper(), known=datawords.modalities_in_words(CONTRASTS, _(", "))
            )
        return ""

    def _scans_path(self) -> str:
        data = self.parameters.data
        return {DataSource.FOLDER: data.folder, DataSource.TABLE: data.table}.get(data.source, "")

    def _ask(self) -> None:
        """Look into the folder, the table and the training set, once for each state of them."""
        scans = self._scans_path()
        if scans and os.path.isabs(scans) and not self._scans_trouble() and not self._modalities_wrong():
            words = ["prepare", scans, "--list"]
            if self.parameters.data.source is DataSource.FOLDER:
                words += ["--modalities", *self.modalities]
            self._scans.ask((*words, self._state(scans)), words)
        else:
            self._scans.forget()
        path = self.set_path()
        # While it is written it is not looked at: HDF5 does not like to be replaced under its readers.
        if path is None:
            self._set.forget()
        elif not self.panel.runs(self.ui.prepareButton):
            self._set.ask((str(path), self._state(str(path))), ["prepare", str(path), "--list"])

    def _state(self, path: str) -> Hashable:
        """Changes when the file or folder does; looked at every few seconds at most."""
        seen, state = self._states.get(path, (-_FRESH_S, None))
        now = time.monotonic()
        if now - seen > _FRESH_S:
            state = _state(path)
            self._states[path] = now, state
        return state

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
        if self._set.problem and self._packages_missing():
            problem, kind = datawords.cannot_look(), "warning"
        if found is not None:
            info = datawords.set_in_words(found)
            problem = problem or self._other_modalities(found)
            if not problem and not any(one["split"] == "train" for one in found["patients"]):
                problem = _("The set has no patient to train on.")
        elif self._set.pending:
            info = _("Looking into the training set ...")
        remark = "" if found is None or problem else datawords.remark_on_set(found)
        self.message("setMessage", problem or remark, kind if problem else "warning")
        if found is not None and data.source is DataSource.SET:
            paths.remember(self.panel, ui.setPath)
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

    def _packages_missing(self) -> bool:
        """Whether a question failed for want of packages; once they are there it is asked again."""
        if install.missing_packages():
            self._lacking = True
        elif self._lacking:
            self._lacking = False
            self.set_written()
            self.panel.changed()
        return self._lacking

    def _forget(self) -> None:
        self._scans.forget()
        self._set.forget()
        self.preparation.forget()


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
