"""The table in which volumes of the scene are put together to patients."""

from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _

from MSLFusionTrainingPanel.pairs import Pairs

if TYPE_CHECKING:
    from MSLFusionTrainingPanel.data import DataSection

_SHOWN = 6


class PairTable:
    """A node selector for each patient and modality, kept in step with the parameter node."""

    def __init__(self, section: "DataSection") -> None:
        self._section = section
        self._table = section.ui.pairsTable
        self._selectors: list[list[Any]] = []
        self._table.verticalHeader().setVisible(True)
        self._table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        section.on(section.ui.addPairButton, "clicked()", self.add)
        section.on(section.ui.removePairButton, "clicked()", self.remove)

    def update(self) -> None:
        """Show the pairs of the parameters."""
        pairs, names = Pairs(self._section.parameters), self._section.modalities
        if len(self._selectors) != pairs.rows or any(len(row) != len(names) for row in self._selectors):
            self._rebuild(pairs.rows, len(names))
        self._table.setHorizontalHeaderLabels([name.upper() for name in names])
        for row, selectors in enumerate(self._selectors):
            for column, selector in enumerate(selectors):
                node = pairs.get(row, column)
                if selector.currentNode() is not node:
                    selector.setCurrentNode(node)
        busy = self._section.panel.task is not None
        for button in (self._section.ui.addPairButton, self._section.ui.removePairButton):
            button.enabled = not busy
        self._table.enabled = not busy

    def add(self) -> None:
        """One more patient."""
        Pairs(self._section.parameters).add()

    def remove(self) -> None:
        """Take out the chosen patient, the last one without a choice."""
        row = self._table.currentRow()
        if not 0 <= row < len(self._selectors):
            row = len(self._selectors) - 1
        Pairs(self._section.parameters).remove(row, len(self._section.modalities))
        self._section.panel.changed()

    def drop(self, node: Any) -> None:
        """Choose nothing where this volume is chosen."""
        pairs = Pairs(self._section.parameters)
        for row, selectors in enumerate(self._selectors):
            for column, selector in enumerate(selectors):
                if pairs.get(row, column) is node:
                    pairs.put(row, column, None)
                if selector.currentNode() is node:
                    selector.setCurrentNode(None)

    def _rebuild(self, rows: int, columns: int) -> None:
        for selector in (one for row in self._selectors for one in row):
            selector.setMRMLScene(None)
        self._table.setRowCount(0)
        self._table.setRowCount(rows)
        self._table.setColumnCount(columns)
        self._table.setVerticalHeaderLabels([str(row + 1) for row in range(rows)])
        self._selectors = [[self._selector(row, column) for column in range(columns)] for row in range(rows)]
        for row, selectors in enumerate(self._selectors):
            for column, selector in enumerate(selectors):
                self._table.setCellWidget(row, column, selector)
        height = self._table.verticalHeader().defaultSectionSize
        self._table.minimumHeight = height * (min(rows, _SHOWN) + 1) + 8
        self._table.maximumHeight = self._table.minimumHeight

    def _selector(self, row: int, column: int) -> Any:
        selector = slicer.qMRMLNodeComboBox()
        selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        selector.showChildNodeTypes = False
        selector.addEnabled = selector.removeEnabled = selector.renameEnabled = False
        selector.noneEnabled = True
        selector.toolTip = _("The volume of this patient.")
        selector.setMRMLScene(slicer.mrmlScene)
        selector.setCurrentNode(Pairs(self._section.parameters).get(row, column))

        def chosen(node: Any) -> None:
            Pairs(self._section.parameters).put(row, column, node)
            self._section.panel.changed()

        self._section.on(selector, "currentNodeChanged(vtkMRMLNode*)", chosen)
        return selector
