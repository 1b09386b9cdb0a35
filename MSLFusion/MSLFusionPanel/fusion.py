"""Section 3 of fusion: the settings of the chosen method."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from MSLFusionPanel.devices import fill
from MSLFusionPanel.fusionform import SettingsForm
from MSLFusionPanel.methodparameters import Method
from MSLFusionPanel.section import Section

if TYPE_CHECKING:
    from MSLFusionPanel.parameters import MSLFusionParameterNode


class FusionSection(Section):
    """Fields of the method's own settings, its network where it has one, and what holds for all methods."""

    def setup(self) -> None:
        """Connect the widgets."""
        self.form = SettingsForm(self, self.ui.fusionSettingsFrame, self._take)
        self.on(self.ui.fusionModelSelector, "currentIndexChanged(int)", self._choose_model)
        self._slicewise_tip = self.ui.slicewiseCheckBox.toolTip

    def applies(self) -> bool:
        """It is fusion's."""
        return self.parameters.choice.method is Method.FUSION

    def update(self) -> None:
        """Show the settings, and what is wrong with them."""
        fusion = self.parameters.fusion
        row = self.panel.method.row()
        self.form.show(() if row is None else row["settings"], changed_settings(self.parameters).get(fusion.method, {}))
        trained = row is not None and bool(row["trained"])
        self.ui.fusionModelSelectorLabel.setVisible(trained)
        self.ui.fusionModelSelector.setVisible(trained)
        if row is not None and trained:
            self._fill_models(row)
        slicewise = self.ui.slicewiseCheckBox
        slicewise.enabled = not trained
        slicewise.toolTip = _("The network works on volumes only.") if trained else self._slicewise_tip
        self.message("fusionMessage", self._problem(row))

    def _fill_models(self, row: Mapping[str, Any]) -> None:
        chosen = self.parameters.fusion.model
        rows = [("", _("Automatic"))]
        rows += [(one["name"], _("{name} ({pair})").format(name=one["name"], pair=_pair(one))) for one in row["models"]]
        if chosen not in dict(rows):
            rows.append((chosen, _("{name} (not found)").format(name=chosen)))
        fill(self.ui.fusionModelSelector, rows, chosen, {one["name"]: one["path"] for one in row["models"]})

    def _problem(self, row: Mapping[str, Any] | None) -> str:
        """Where no installed network is for what the volumes are."""
        fusion = self.parameters.fusion
        if row is None or not row["trained"] or not row["models"]:
            return ""
        kinds = [self.panel.data.kind(0), self.panel.data.kind(1)]
        if None in kinds:
            return ""
        pairs = [_kinds(one) for one in row["models"] if fusion.model in ("", one["name"])]
        if not pairs or any(sorted(kinds) == sorted(pair) for pair in pairs):
            return ""
        known = _(" or ").join(dict.fromkeys(_(" and ").join(pair).upper() for pair in pairs))
        sentence = _("There is no network here for {first} and {second}, only for {known}.")
        advice = _("Say in section 1 what the volumes are, or choose another method.")
        return sentence.format(first=kinds[0].upper(), second=kinds[1].upper(), known=known) + " " + advice

    def _choose_model(self, index: int) -> None:
        name = self.ui.fusionModelSelector.itemData(index)
        if name is not None and name != self.parameters.fusion.model:
            self.parameters.fusion.model = name

    def _take(self, name: str, value: Any) -> None:
        """The user has changed a setting."""
        fusion = self.parameters.fusion
        settings = changed_settings(self.parameters)
        settings.setdefault(fusion.method, {})[name] = value
        fusion.settings = json.dumps(settings, sort_keys=True)


def changed_settings(parameters: "MSLFusionParameterNode") -> dict[str, dict[str, Any]]:
    """The settings that differ from the methods' own, by method; empty where a scene holds something else."""
    try:
        found = json.loads(parameters.fusion.settings)
    except ValueError:
        return {}
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        return {}
    return found


def settings_for(parameters: "MSLFusionParameterNode", row: Mapping[str, Any]) -> dict[str, Any]:
    """What the worker is asked with for a method; settings that it does not have (any more) are left out."""
    names = {one["name"] for one in row["settings"]}
    given = {name: v for name, v in changed_settings(parameters).get(row["name"], {}).items() if name in names}
    if "device" in names:
        given["device"] = parameters.model.device
    if "model" in names:
        chosen = [one["path"] for one in row["models"] if one["name"] == parameters.fusion.model]
        given["model"] = chosen[0] if chosen else parameters.fusion.model
    return given


def _pair(model: Mapping[str, Any]) -> str:
    return _(" and ").join(name.upper() for name in model["modalities"])


def _kinds(model: Mapping[str, Any]) -> tuple[str, ...]:
    """What a model's volumes are: any contrast that is neither CT nor PET is an MR."""
    return tuple(name if name in ("ct", "pet") else "mr" for name in model["modalities"])
