"""Results of CMF-Net: how near each volume is to the truth, where it is known, and which one is shown."""

from typing import Any

import slicer
from slicer.i18n import tr as _

from MSLFusionPanel import layouts
from MSLFusionPanel.devices import fill
from MSLFusionPanel.methodparameters import Method, TargetSource
from MSLFusionPanel.pairresults import refer, table_of
from MSLFusionPanel.restored import RESTORED, Volumes
from MSLFusionPanel.section import Section
from MSLFusionPanel.valuetable import ValueTable, rows_with

_IMAGE, _COLUMNS = "image", {"nmse": "NMSE", "psnr": "PSNR", "ssim": "SSIM"}
_DIGITS = {"nmse": 5, "psnr": 2, "ssim": 4}


class RestoreResultsSection(Section):
    """The table of a pair."""

    def setup(self) -> None:
        """Connect the widgets."""
        self._values = ValueTable(self.ui.restoreTable, _IMAGE)
        self.on(self.ui.showRestoreTableButton, "clicked()", self.show_table)
        self.on(self.ui.restoredSelector, "currentIndexChanged(int)", self._choose)

    def applies(self) -> bool:
        """It is CMF-Net's."""
        return self.parameters.choice.method is Method.CMF_NET

    def update(self) -> None:
        """Show what the chosen table says, and which results there are."""
        restore = self.parameters.restore
        rows = measured(restore.table)
        self._values.show(rows, _meanings())
        self.message("restoreResultsInfo", self._told(bool(rows)), "info")
        self.ui.showRestoreTableButton.enabled = bool(rows)
        results = RESTORED.of(*self.panel.restoring.pair())
        titles = [(name, str(node.GetName())) for name, node in results.items()]
        fill(self.ui.restoredSelector, titles, restore.shown)
        self.ui.restoredSelector.enabled = bool(titles)

    def show(self, volumes: Volumes, target: Any, auxiliary: Any) -> None:
        """New results of a pair: their figures take the place of those that it had."""
        from MSLFusionLib.scene import tables

        table = table_of(self.parameters.restore.table, target, auxiliary)
        rows = [_row(row) for row in volumes.told.get("rows") or []]
        if table is None and rows:
            table = tables.metrics_table(slicer.mrmlScene, rows, _("Figures of the restoration"))
            refer(table, target, auxiliary)
            RESTORED.place(target, auxiliary, [table])
        elif table is not None:
            tables.fill_table(table, rows)
        self.parameters.restore.table = table

    def show_table(self) -> None:
        """The table below the slices."""
        if self.parameters.restore.table is not None:
            layouts.show_table(self.parameters.restore.table)

    def _told(self, there: bool) -> str:
        if there:
            return _("Each is compared with the target at its own resolution, in the target's values.")
        if self.parameters.restore.source is TargetSource.KSPACE:
            return _("Measured data hold no ground truth: there is nothing to compare with.")
        return _("Apply compares the results with the target.")

    def _choose(self, index: int) -> None:
        name = self.ui.restoredSelector.itemData(index)
        if name and name != self.parameters.restore.shown:
            self.panel.restoring.show_kind(name)


def measured(table: Any) -> list[dict[str, Any]]:
    """The rows of a table of ours; [] for none and for others."""
    return rows_with(table, (_IMAGE, *_COLUMNS.values()))


def _row(row: dict[str, Any]) -> dict[str, Any]:
    image = str(row["image"])
    found: dict[str, Any] = {_IMAGE: image[:1].upper() + image[1:]}
    for key, name in _COLUMNS.items():
        value = row.get(key)
        found[name] = None if value is None else round(float(value), _DIGITS[key])
    return found


def _meanings() -> dict[str, str]:
    return {
        "NMSE": _("Normalised mean squared error: 0 is perfect."),
        "PSNR": _("Peak signal-to-noise ratio in dB: more is better."),
        "SSIM": _("Structural similarity: 1 is perfect."),
    }
