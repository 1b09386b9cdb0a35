"""Section 3 of CMF-Net: how the target is measured, and by which network it is restored."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from MSLFusionPanel import paths
from MSLFusionPanel.chosenfiles import file_state
from MSLFusionPanel.devices import fill
from MSLFusionPanel.inputs import mr_on_grid
from MSLFusionPanel.methodparameters import Method, TargetSource
from MSLFusionPanel.question import Question
from MSLFusionPanel.readers import is_sensors_file
from MSLFusionPanel.section import Section
from MSLFusionPanel.words import grid_in_words, share_in_words

if TYPE_CHECKING:
    from MSLFusionPanel.parameters import RestoreParameters

_SIMULATED = (
    "restoreAccelerationSpinBoxLabel",
    "restoreAccelerationSpinBox",
    "restoreMaskSelectorLabel",
    "restoreMaskSelector",
    "restoreNoiseSpinBoxLabel",
    "restoreNoiseSpinBox",
    "restoreSeedSpinBoxLabel",
    "restoreSeedSpinBox",
)
_MEASURED = (
    "restoreKspacePathLabel",
    "restoreKspacePath",
    "restoreCoilsSelectorLabel",
    "restoreCoilsSelector",
    "restoreRegisterCheckBox",
)


class RestoreSection(Section):
    """Sampling or file, network, and what Apply computes beside."""

    def setup(self) -> None:
        """Connect the widgets."""
        self._file = Question(self.logic.worker, self.panel.changed)
        self.on(self.ui.restoreModelSelector, "currentIndexChanged(int)", self._choose_model)
        paths.listen(self, self.ui.restoreKspacePath, self._take_path)

    def applies(self) -> bool:
        """It is CMF-Net's."""
        return self.parameters.choice.method is Method.CMF_NET

    def enter(self) -> None:
        """A file that could not be looked at is looked at again."""
        self._file.forget()

    def update(self) -> None:
        """Show the settings, what they mean, and what is wrong with them."""
        restore = self.parameters.restore
        simulated = restore.source is TargetSource.VOLUME
        for names, shown in ((_SIMULATED, simulated), (_MEASURED, not simulated)):
            for name in names:
                getattr(self.ui, name).setVisible(shown)
        paths.show(self.ui.restoreKspacePath, restore.kspace)
        self._fill_models()
        if simulated:
            self._tell_simulated()
        else:
            self._tell_measured(restore)
        self._tell_model()

    def model(self) -> Mapping[str, Any] | None:
        """The chosen network as the worker tells of it (methods.ModelEntry); None where it is not there."""
        row = self.panel.method.row()
        models = [] if row is None else row["models"]
        name = self.parameters.restore.model
        return next((one for one in models if name in ("", one["name"], one["path"])), None)

    def _tell_simulated(self) -> None:
        data, restore = self.parameters.data, self.parameters.restore
        share = share_in_words(round(restore.acceleration, 2))
        sentence = _("Of the coarse image {share} is measured.").format(share=share)
        if data.ct is not None and data.mr is not None and mr_on_grid(self.parameters) is None:
            sentence += " " + _(
                "The auxiliary is not on the target's grid: Apply resamples it where it lies; register it (section 2) "
                "where that is not right."
            )
        self.message("restoreInfo", sentence, "info")
        self.message("restoreMessage")

    def _tell_measured(self, restore: "RestoreParameters") -> None:
        problem, kind = self._file_problem(restore)
        found = self._file.answer if not problem else None
        told = ""
        if found is not None:
            geometry = found["geometry"]
            told = _("{grid}.").format(grid=grid_in_words(geometry["size"], geometry["spacing_mm"]))
        elif not problem and self._file.pending:
            told = _("Looking at the file …")
        self.message("restoreInfo", told, "info")
        self.message("restoreMessage", problem, kind)

    def _file_problem(self, restore: "RestoreParameters") -> tuple[str, str]:
        """Why the file cannot be used, and what kind of message that is."""
        if not restore.kspace:
            return _("Choose a file with k-space."), "needed"
        local = self.logic.worker.where == "local"
        if local and not os.path.isfile(restore.kspace):
            return _("There is no such file: choose another one."), "error"
        if not local and self.logic.worker.state != "running":
            return "", "info"
        state = (self.logic.worker.where, file_state(restore.kspace), restore.coils)
        self._file.ask(state, "describe_sensors", **file_request(restore))
        found = self._file.answer
        if found is not None and "mr" not in found["modalities"]:
            return _("This file holds no k-space: choose another one."), "error"
        return self._file.problem, "error" if self._file.refused else "failure"

    def _fill_models(self) -> None:
        row, chosen = self.panel.method.row(), self.parameters.restore.model
        models = [] if row is None else list(row["models"])
        rows = [("" if place == 0 else one["name"], _label(one)) for place, one in enumerate(models)]
        if models and chosen in (models[0]["name"], models[0]["path"]):
            chosen = ""
        if chosen and chosen not in dict(rows):
            rows.append((chosen, _("{name} (not found)").format(name=chosen)))
        tips = {"" if place == 0 else one["name"]: one["path"] for place, one in enumerate(models)}
        fill(self.ui.restoreModelSelector, rows, chosen, tips)
        self.ui.restoreModelSelector.enabled = bool(rows)

    def _tell_model(self) -> None:
        row, model = self.panel.method.row(), self.model()
        if model is None and row is not None and row["models"]:
            sentence = _("The network “{name}” is not there: choose another one.")
            self.message("restoreModelMessage", sentence.format(name=self.parameters.restore.model))
        else:
            self.message("restoreModelMessage", "" if model is None else self._model_in_words(model), "info")

    def _model_in_words(self, model: Mapping[str, Any]) -> str:
        if len(model["modalities"]) != 2:
            return ""
        auxiliary, target = (name.upper() for name in model["modalities"])
        sentence = _("Trained on {target} as the target and {auxiliary} as the auxiliary; pixels {scale} times finer.")
        return sentence.format(target=target, auxiliary=auxiliary, scale=model["scale"] or 1)

    def _choose_model(self, index: int) -> None:
        name = self.ui.restoreModelSelector.itemData(index)
        if name is not None and name != self.parameters.restore.model:
            self.parameters.restore.model = name

    def _take_path(self, path: str) -> None:
        if path != self.parameters.restore.kspace:
            self.parameters.restore.kspace = path


def file_request(restore: "RestoreParameters") -> dict[str, Any]:
    """How the worker's requests name the file."""
    if is_sensors_file(restore.kspace):
        return {"path": restore.kspace}
    return {"kspace": restore.kspace, "coils": restore.coils.value}


def _label(model: Mapping[str, Any]) -> str:
    if len(model["modalities"]) != 2 or not model["scale"]:
        return str(model["name"])
    auxiliary, target = (name.upper() for name in model["modalities"])
    words = {"target": target, "auxiliary": auxiliary, "scale": model["scale"], "name": model["name"]}
    return _("{target} with {auxiliary}, {scale} x ({name})").format(**words)
