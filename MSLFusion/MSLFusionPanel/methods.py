"""Above all sections: the method; which sections apply to it, how they are called, whether its inputs are there."""

from collections.abc import Callable, Mapping
from typing import Any

import qt
from slicer.i18n import tr as _

from MSLFusionPanel import pairs
from MSLFusionPanel.inputs import mr_on_grid
from MSLFusionPanel.methodparameters import Method, TargetSource
from MSLFusionPanel.methodtable import MethodTable
from MSLFusionPanel.parameters import SensorSource
from MSLFusionPanel.section import Section
from MSLFusionPanel.words import as_sentence

_SECTIONS = {
    Method.MSL: (
        "dataSection",
        "coregisterSection",
        "sensorsSection",
        "modelSection",
        "lambdaSection",
        "reconstructSection",
        "resultsSection",
    ),
    Method.FUSION: (
        "dataSection",
        "coregisterSection",
        "fusionSection",
        "modelSection",
        "reconstructSection",
        "fusionResultsSection",
    ),
    Method.CMF_NET: (
        "dataSection",
        "coregisterSection",
        "restoreSection",
        "modelSection",
        "reconstructSection",
        "restoreResultsSection",
    ),
}
"""The sections of each method from top to bottom; the log is everybody's."""
_ONLY_MSL = (
    "hybridSelectorLabel",
    "hybridSelector",
    "sweepCheckBox",
    "sweepCountSpinBox",
    "metricsCheckBox",
    "consistencyCheckBox",
    "trustCheckBox",
    "trustPassesSpinBox",
    "liveCheckBox",
    "modelSelectorLabel",
    "modelSelector",
    "modelFolderPathLabel",
    "modelFolderPath",
    "modelCardBox",
)
"""Fields of shared sections."""


class MethodSection(Section):
    """The selectors at the top; what follows from them for the panel as a whole."""

    def setup(self) -> None:
        """Connect the widgets."""
        self._arranged: Method | None = None
        self.table = MethodTable(self.logic.worker, self.panel.changed)
        self.on(self.ui.fusionMethodSelector, "currentIndexChanged(int)", self._choose)

    def enter(self) -> None:
        """What was installed meanwhile is found."""
        self.table.look_again()

    def update(self) -> None:
        """Arrange the panel for the method, and say what it is."""
        parameters = self.parameters
        method = parameters.choice.method
        self.exchange_pair()
        self.ui.methodSelector.enabled = self.panel.task is None
        if self._arranged is not method:
            self._arranged = method
            self._arrange(method)
        if method is not Method.MSL:
            self.table.look(parameters.model.folder)
        if method is Method.FUSION:
            self._fill(parameters.fusion.method)
        self._say(method)
        self._explain(method)

    def exchange_pair(self) -> None:
        """Let the fields hold the volumes of the chosen method, where another one was chosen."""
        if pairs.exchange(self.parameters):
            self.panel.coregister.forget()

    def row(self) -> Mapping[str, Any] | None:
        """What the worker tells of the chosen method; None where it is not known."""
        parameters = self.parameters
        method = parameters.choice.method
        return self.table.row(parameters.fusion.method if method is Method.FUSION else method.value)

    def number(self, name: str) -> int:
        """The number in front of a section's title, 0 where it does not apply."""
        sections = _SECTIONS[self.parameters.choice.method]
        return sections.index(name) + 1 if name in sections else 0

    def _arrange(self, method: Method) -> None:
        """Show the sections of the method under its words."""
        titles = _titles(method)
        for name in {name for names in _SECTIONS.values() for name in names}:
            section = getattr(self.ui, name)
            section.setVisible(name in titles)
            if name in titles:
                section.text = _("{n}. {title}").format(n=self.number(name), title=titles[name])
        for name in _ONLY_MSL:
            getattr(self.ui, name).setVisible(method is Method.MSL)
        for name in ("sampleLayoutLabel", "sampleHeadButton", "sampleRireButton"):
            getattr(self.ui, name).setVisible(method is not Method.CMF_NET)  # they have one MR contrast only
        for name in ("fusionMethodSelectorLabel", "fusionMethodSelector", "compareAllButton"):
            getattr(self.ui, name).setVisible(method is Method.FUSION)
        words = pairs.names(self.parameters)
        texts = {
            "ctSelectorLabel": words.fixed_field,
            "mrSelectorLabel": words.moving_field,
            "alignedSelectorLabel": words.on_grid,
        }
        for name, text in texts.items():
            getattr(self.ui, name).text = f"{text}:"
        self.ui.alignedSelector.baseName = words.on_grid
        self.ui.transformSelector.baseName = words.transform
        for name, tip in _tips(method, words).items():
            getattr(self.ui, name).toolTip = tip

    def _fill(self, chosen: str) -> None:
        """The fusion methods; those that cannot run here are there, but cannot be chosen."""
        selector, rows = self.ui.fusionMethodSelector, self.table.fusion()
        texts = {row["name"]: _label(row) for row in rows}
        if chosen not in texts:
            texts[chosen] = chosen
        shown = {selector.itemData(i): selector.itemText(i) for i in range(selector.count)}
        if shown != texts:
            blocked = selector.blockSignals(True)
            selector.clear()
            for name, text in texts.items():
                selector.addItem(text, name)
            for i, row in enumerate(rows):
                tip = as_sentence("; ".join(row["missing"])) if row["missing"] else row["summary"]
                selector.setItemData(i, tip, qt.Qt.ToolTipRole)
                selector.model().item(i).setEnabled(bool(row["ready"]))
            selector.blockSignals(blocked)
        index = list(texts).index(chosen)
        if selector.currentIndex != index:
            blocked = selector.blockSignals(True)
            selector.setCurrentIndex(index)
            selector.blockSignals(blocked)

    def _choose(self, index: int) -> None:
        name = self.ui.fusionMethodSelector.itemData(index)
        if name and name != self.parameters.fusion.method:
            self.parameters.fusion.method = name

    def _say(self, method: Method) -> None:
        """One line: what the method is, what it takes, and what of it is there."""
        say: dict[Method, Callable[[], str]] = {
            Method.MSL: self._msl,
            Method.CMF_NET: self._cmf_net,
            Method.FUSION: self._fusion,
        }
        self.message("methodInfo", say[method](), "info")

    def _msl(self) -> str:
        data, source = self.parameters.data, self.parameters.sensors.source
        summary = _("CT and MR from few X-ray views and part of k-space, mixed by lambda.")
        if source is not SensorSource.SIMULATE:
            return summary + " " + _("Input: measured data (section 3).")
        return summary + " " + _inputs({_("CT"): data.ct is not None, _("MR"): data.mr is not None})

    def _cmf_net(self) -> str:
        data, restore = self.parameters.data, self.parameters.restore
        summary = _(
            "Restores an MR contrast from little k-space and makes it finer, with the help of another contrast."
        )
        target = data.ct is not None if restore.source is TargetSource.VOLUME else bool(restore.kspace)
        return summary + " " + _inputs({_("target"): target, _("auxiliary"): data.mr is not None})

    def _fusion(self) -> str:
        data, row = self.parameters.data, self.row()
        summary = row["summary"] if row is not None else _("Two volumes of one object become one.")
        there = {_("first volume"): data.ct is not None, _("second volume"): mr_on_grid(self.parameters) is not None}
        if data.mr is not None and data.ct is not None and mr_on_grid(self.parameters) is None:
            return summary + " " + _("Inputs: first volume there, second not on its grid yet (section 2).")
        return summary + " " + _inputs(there)

    def _explain(self, method: Method) -> None:
        """Why the method cannot be used here."""
        if method is Method.MSL:
            self.message("methodMessage")
            return
        row = self.row()
        if self.table.trouble:
            self.message("methodMessage", self.table.trouble, "failure")
        elif self.table.known and row is None:
            name = self.parameters.fusion.method if method is Method.FUSION else method.label()
            sentence = _("The method “{name}” is not here: choose another one.").format(name=name)
            self.message("methodMessage", sentence)
        elif row is not None and row["missing"]:
            self.message("methodMessage", as_sentence("; ".join(row["missing"])))
        elif row is None:
            self.message("methodMessage", _("Asking the worker what it can do …"), "needed")
        else:
            self.message("methodMessage")


def _titles(method: Method) -> dict[str, str]:
    """The sections that apply, with their titles."""
    titles = {
        "dataSection": _("Data"),
        "coregisterSection": _("Coregister"),
        "sensorsSection": _("Sensor data"),
        "fusionSection": _("Fusion"),
        "restoreSection": _("Measurement and network"),
        "modelSection": _("Model") if method is Method.MSL else _("Device and worker"),
        "lambdaSection": _("Lambda"),
        "reconstructSection": _("Reconstruct") if method is Method.MSL else _("Apply"),
        "resultsSection": _("Results"),
        "fusionResultsSection": _("Results"),
        "restoreResultsSection": _("Results"),
    }
    return {name: titles[name] for name in _SECTIONS[method]}


def _tips(method: Method, words: pairs.Names) -> dict[str, str]:
    """Tooltips that depend on the method."""
    first, second = _("The CT volume in HU. Results lie on its grid."), _("The MR volume, in any position and scale.")
    if method is Method.FUSION:
        first = _("A volume of any modality. Results lie on its grid.")
        second = _("Another volume of the same object, in any position.")
    if method is Method.CMF_NET:
        first = _("The MR contrast to be restored; it is measured in simulation.")
        second = _("Another MR contrast of the same head, complete, in any position.")
    named = {"fixed": words.fixed, "moving": words.moving}
    return {
        "ctSelector": first,
        "mrSelector": second,
        "alignmentSelector": _("How the {moving} is brought onto the {fixed}.").format(**named),
        "transformSelector": _("Receives the transform that moves the {moving} onto the {fixed}.").format(**named),
        "alignedSelector": _("Receives the {moving} resampled on the {fixed}'s grid.").format(**named),
    }


def _inputs(there: Mapping[str, bool]) -> str:
    found = [name for name, is_there in there.items() if is_there]
    missing = [name for name, is_there in there.items() if not is_there]
    if not missing:
        return _("Inputs: {names} are there.").format(names=_(" and ").join(found))
    if not found:
        return _("Inputs: {names} are missing.").format(names=_(" and ").join(missing))
    return _("Inputs: {found} is there, {missing} is missing.").format(found=found[0], missing=missing[0])


def _label(row: Mapping[str, Any]) -> str:
    if row["ready"]:
        return str(row["title"])
    return _("{title} (needs {what})").format(title=row["title"], what=row["needs"] or _("more"))
