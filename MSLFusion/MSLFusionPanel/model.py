"""Section 4: the network with its card, the device it runs on, and the worker."""

import html
import re
from typing import Any

from slicer.i18n import tr as _

from MSLFusionLib import cards
from MSLFusionLib.errors import InputError
from MSLFusionPanel import install, paths
from MSLFusionPanel.devices import Devices, fill
from MSLFusionPanel.methodparameters import Method
from MSLFusionPanel.models import Model, ModelList
from MSLFusionPanel.section import Section
from MSLFusionPanel.words import as_sentence
from MSLFusionPanel.workerbox import WorkerBox

_PACKAGE_NAMES = {"torch": "PyTorch"}


class ModelSection(Section):
    """Which model, where it runs, and what it was not trained on."""

    def setup(self) -> None:
        """Connect the widgets."""
        ui = self.ui
        self._list = ModelList(self.logic.worker, self.panel.changed)
        self._devices = Devices(self)
        self._worker = WorkerBox(self)
        self._missing: tuple[Any, list[str]] | None = None
        self._card_shown: tuple[Any, ...] = ()
        self._folder_tip = ui.modelFolderPath.toolTip
        self.on(ui.modelSelector, "currentIndexChanged(int)", self._choose)
        paths.listen(self, ui.modelFolderPath, self._take_folder)

    def enter(self) -> None:
        """Look for models and packages again."""
        self._list.look_again()
        self._missing = None

    def cleanup(self) -> None:
        """The token goes with the panel."""
        self.ui.tokenLineEdit.clear()

    def update(self) -> None:
        """Show models, card, devices and worker; other methods than MSL choose their models elsewhere."""
        self._worker.update()
        self._devices.update(self.missing_packages())
        self._update_device_message()
        if self.parameters.choice.method is not Method.MSL:
            self.message("modelMessage")
            self.message("modelWarning")
            return
        self._update_folder()
        model = self.chosen()
        if self.parameters.model.folder and self._list.folder_useful:
            paths.remember(self.panel, self.ui.modelFolderPath)
        self._update_selector(model)
        self._show_card(model)
        problem = self._model_problem()
        if problem:
            self.message("modelMessage", problem)
        else:
            self.message("modelMessage", self._model_remark(), "info")
        self.message("modelWarning", "" if problem else self._warning(model), "warning")

    def chosen(self) -> Model | None:
        """The model that is chosen, None where it is not there or not known yet."""
        self._list.look(self.parameters.model.folder)
        return self._list.chosen(self.parameters.model.name)

    def columns(self) -> int | None:
        """Width of the chosen network's k-space, None where it is not known."""
        model = self.chosen()
        grid = model.card.get("grid") if model is not None else None
        size = grid.get("size") if isinstance(grid, dict) else None
        whole = isinstance(size, list) and len(size) == 2 and isinstance(size[1], int) and 0 < size[1] <= 65536
        return size[1] if whole else None

    def problem(self) -> str:
        """Why nothing can be computed with this model and device; empty when it can."""
        return self._model_problem() or self._device_problem()

    def missing_packages(self) -> list[str]:
        """Names of the Python packages that a worker of this machine lacks; looked for again while there are any."""
        if self.logic.worker.where != "local":
            return []
        state = (self.logic.worker.generation, self.panel.task is None)
        if self._missing is None or (self._missing[1] and self._missing[0] != state):
            names = [re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in install.missing_packages()]
            self._missing = (state, [_PACKAGE_NAMES.get(name, name) for name in names])
        return self._missing[1]

    def _choose(self, index: int) -> None:
        name = self.ui.modelSelector.itemData(index)
        if name is not None and name != self.parameters.model.name:
            self.parameters.model.name = name

    def _take_folder(self, folder: str) -> None:
        if folder != self.parameters.model.folder:
            self.parameters.model.folder = folder

    def _update_folder(self) -> None:
        widget, folder = self.ui.modelFolderPath, self.parameters.model.folder
        paths.show(widget, folder)
        remote = self.logic.worker.where != "local"
        widget.toolTip = f"{self._folder_tip} {_remote_folder()}" if remote else self._folder_tip

    def _update_selector(self, model: Model | None) -> None:
        name = self.parameters.model.name
        default = self._list.chosen("")
        rows, tips = [], {}
        for one in self._list.models:
            data = "" if default is not None and one.name == default.name else one.name
            rows.append((data, one.label))
            tips[data] = one.path
        if model is not None:
            name = "" if default is not None and model.name == default.name else model.name
        elif name:
            what = _("{name} (not found)") if self._list.known else _("{name} (not known yet)")
            rows.append((name, what.format(name=name)))
        fill(self.ui.modelSelector, rows, name, tips)
        self.ui.modelSelector.enabled = bool(rows)

    def _model_problem(self) -> str:
        """Why this model cannot be used."""
        model = self.chosen()
        if self._list.folder_problem:
            return self._list.folder_problem
        if model is None:
            if not self._list.known:
                return ""
            name = self.parameters.model.name
            if name:
                return _("The model “{name}” is not there: choose another one, or the folder that it lies in.").format(
                    name=name
                )
            return _("No model was found: choose a folder that holds one.")
        held = model.card.get("modalities")
        foreign = [
            name.upper()
            for name in self.parameters.sensors.modalities.names()
            if not isinstance(held, list) or name not in held
        ]
        if foreign:
            return _("The model “{name}” cannot use {foreign}: choose another model, or other data under Used.").format(
                name=model.label, foreign=_(" and ").join(foreign)
            )
        try:
            self._outside(model)
        except InputError as error:
            return as_sentence(str(error))
        return ""

    def _model_remark(self) -> str:
        if self.logic.worker.where != "local":
            if self._list.trouble:
                return self._list.trouble
            if not self._list.known:
                return _("The models of the worker are shown when it is connected.")
        if self._list.folder_empty:
            return _("The folder holds no model of MSL Fusion (.safetensors).")
        if self.parameters.model.folder and self.logic.worker.where != "local":
            return _remote_folder()
        return ""

    def _outside(self, model: Model) -> list[str]:
        """Sentences on what the chosen sampling has that the model was not trained on; raises InputError."""
        sampling = self.panel.sensors.sampling()
        return [] if sampling is None else cards.outside_training(model.card, *sampling)

    def _warning(self, model: Model | None) -> str:
        return "" if model is None else " ".join(as_sentence(one) for one in self._outside(model))

    def _show_card(self, model: Model | None) -> None:
        state = () if model is None else (model.path, id(model.card))
        if state == self._card_shown:
            return
        self._card_shown = state
        self.ui.modelCard.setHtml("" if model is None else card_html(model))

    def _device_problem(self) -> str:
        info = self.logic.worker.info
        if self.logic.worker.where != "local" and info is not None and not info.get("torch"):
            return _("PyTorch is not installed where the worker runs: install it there.")
        return self._devices.problem()

    def _update_device_message(self) -> None:
        problem = self._device_problem()
        missing = self.missing_packages()
        if problem:
            self.message("deviceMessage", problem)
        elif missing:
            one = _("{names} is not installed; Apply offers to install it.")
            several = _("{names} are not installed; Apply offers to install them.")
            sentence = one if len(missing) == 1 else several
            self.message("deviceMessage", sentence.format(names=_(", ").join(missing)), "info")
        else:
            self.message("deviceMessage", self._devices.trouble, "failure")


def card_html(model: Model) -> str:
    """The card as a table, in the colours of the text around it."""
    rows = "".join(
        f"<tr><td valign='top'><b>{html.escape(label)}</b>&nbsp;&nbsp;</td><td>{html.escape(text)}</td></tr>"
        for label, text in (*cards.summary(model.card), (_("File"), model.path))
    )
    return f"<h4>{html.escape(model.label)}</h4><table>{rows}</table>"


def _remote_folder() -> str:
    return _("The folder is one of the machine that the worker runs on.")
