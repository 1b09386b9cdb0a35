"""From a run to a model in MSL Fusion: export, into the folder of the user's models, and choose it there."""

import re
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from MSLFusionLib.io.checkpoints import model_folders, read_card
from MSLFusionLib.resources import user_models_folder
from MSLFusionPanel import install, readers
from MSLFusionPanel.section import Section
from MSLFusionPanel.words import as_sentence
from MSLFusionTrainingLib.facts import BEST, LAST
from MSLFusionTrainingPanel.command import finished

_NAME = re.compile(r"[\w][\w.-]{0,63}")
_MADE_BY = "MSL Fusion Training in 3D Slicer"


class UseModelSection(Section):
    """The name of the model and the button."""

    def setup(self) -> None:
        """Connect the widgets."""
        self._failure = ""
        self._told = ""
        self._tip = self.ui.useModelButton.toolTip
        self.on(self.ui.modelNameLineEdit, "textEdited(QString)", self._take_name)
        self.on(self.ui.useModelButton, "clicked()", self.use)

    def update(self) -> None:
        """Whether there is something to export, and under which name."""
        ui = self.ui
        if ui.modelNameLineEdit.text != self.parameters.run.model:
            ui.modelNameLineEdit.text = self.parameters.run.model
        ui.modelNameLineEdit.placeholderText = self._usual_name()
        running, reason = self.panel.runs(ui.useModelButton), self._why_not()
        ui.useModelButton.text = self.panel.cancel_text() if running else _("Use this model")
        ui.useModelButton.enabled = running or not reason
        stop = _("Stop the export; no model is written.")
        ui.useModelButton.toolTip = stop if running else reason or self._tip
        problem = self._name_problem() if self._exportable() else ""
        if running:
            self.message("useModelMessage", _("The best checkpoint is being checked and exported ..."), "info")
        elif self._failure:
            self.message("useModelMessage", self._failure, "failure")
        elif problem:
            self.message("useModelMessage", problem, "warning")
        else:
            self.message("useModelMessage", self._told or self._replaces(), "info")

    def scene_closed(self) -> None:
        """The run was chosen in the scene."""
        self._failure = self._told = ""

    @property
    def name(self) -> str:
        """What the model is to be called."""
        return self.parameters.run.model.strip() or self._usual_name()

    @property
    def target(self) -> Path:
        """The file of the model."""
        return user_models_folder() / f"{self.name}.safetensors"

    def use(self) -> None:
        """Export the run's best checkpoint and choose it in MSL Fusion; or cancel that."""
        button = self.ui.useModelButton
        if self.panel.runs(button):
            self.panel.cancel()
            return
        if not button.enabled:
            return
        self._told, self._failure = "", as_sentence(install.ready(self.panel.tell, self.panel.root))
        if self._failure:
            self.panel.changed()
            return
        target, title = self.target, _("Export")
        words = ["export", self.parameters.run.folder.strip(), "--output", str(target), "--name", self.name]
        steps = finished([*words, "--made-by", _MADE_BY], lambda *how: self.panel.show_progress(title, *how))
        self.panel.run(button, steps, lambda _result: self._choose(target), self._fail, title)

    def _choose(self, target: Path) -> None:
        """Show the model in MSL Fusion, where it can be used there."""
        held = read_card(target).get("modalities")
        if held != ["ct", "mr"]:
            self._told = _(
                "Exported as {path}. MSL Fusion itself uses models of CT and one MR contrast; this one is for "
                "mslfusion validate and for Python."
            ).format(path=target)
            return
        self._told = _("Exported as {path}, and chosen in MSL Fusion.").format(path=target)
        logic = slicer.util.getModuleWidget("MSLFusion").logic
        logic.session = logic.opened = None  # a model of that name may be open that is not this one
        readers.load(str(target))

    def _fail(self, sentence: str) -> None:
        self._failure = as_sentence(sentence)

    def _take_name(self, text: str) -> None:
        self._failure = self._told = ""
        if self.parameters.run.model != text.strip():
            self.parameters.run.model = text.strip()

    def _usual_name(self) -> str:
        """The run folder's name, as far as it can be that of a file anywhere."""
        return re.sub(r"[^\w.-]+", "-", Path(self.parameters.run.folder.strip()).name).strip("-.") or "my-model"

    def _exportable(self) -> bool:
        folder = self.parameters.run.folder.strip()
        return bool(folder) and any((Path(folder) / name).is_file() for name in (BEST, LAST))

    def _why_not(self) -> str:
        """Why there is nothing to press for; empty when there is."""
        if self.panel.task is not None and not self.panel.runs(self.ui.useModelButton):
            return _("Another job is running: wait for it or cancel it.")
        if not self.parameters.run.folder.strip():
            return _("Choose the folder of a run.")
        if not self._exportable():
            return _("This run has no checkpoint yet.")
        return self._name_problem()

    def _name_problem(self) -> str:
        if not _NAME.fullmatch(self.name):
            return _("A model's name has letters, digits, “-”, “_” and “.” only.")
        others = [folder for folder in model_folders() if folder != user_models_folder()]
        if any((folder / self.target.name).is_file() for folder in others):
            return _("There is a model called {name} already: choose another name.").format(name=self.name)
        return ""

    def _replaces(self) -> str:
        if self._exportable() and self.target.is_file():
            return _("Your model {name} will be replaced.").format(name=self.name)
        return ""
