"""Painting lambda: the table of segments, and Slicer's Segment Editor below it."""

import math
from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _

from MSLFusionLib.errors import InputError

if TYPE_CHECKING:
    from MSLFusionPanel.lambdas import LambdaSection

NAME, COLOR, LAMBDA, FEATHER = range(4)
_EDITOR_TAG = "MSLFusionSegmentEditor"
_EFFECTS = (
    "Paint",
    "Draw",
    "Erase",
    "Scissors",
    "Level tracing",
    "Threshold",
    "Grow from seeds",
    "Fill between slices",
    "Margin",
    "Smoothing",
    "Islands",
    "Logical operators",
)
_COLUMNS = 7
_UNDO_STATES = 10
_MOST_ROWS = 6
_NEXT_LAMBDA = 0.5


class Paint:
    """The frame of painted lambda. All that it shows is in the segmentation node and in a segment editor node."""

    def __init__(self, section: "LambdaSection") -> None:
        self._section = section
        self._ui = section.ui
        self._editor: Any = None
        self._active = False
        self._entered = False
        self._shown: list[str] = []
        self._filling = False
        self.complaint = ""

    def setup(self) -> None:
        """Connect the widgets."""
        table = self._ui.segmentsTable
        table.setColumnCount(4)
        table.setHorizontalHeaderLabels([_("Name"), _("Colour"), _("Lambda"), _("Feather (mm)")])
        table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        table.setSelectionMode(qt.QAbstractItemView.SingleSelection)
        table.verticalHeader().hide()
        header = table.horizontalHeader()
        header.setSectionResizeMode(NAME, qt.QHeaderView.Stretch)
        for column in (COLOR, LAMBDA, FEATHER):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        on = self._section.on
        on(table, "cellChanged(int,int)", self._edited)
        on(table, "itemSelectionChanged()", self._row_chosen)
        on(self._ui.addSegmentButton, "clicked()", self.add)
        on(self._ui.removeSegmentButton, "clicked()", self.remove)
        on(self._ui.segmentUpButton, "clicked()", lambda: self.move(-1))
        on(self._ui.segmentDownButton, "clicked()", lambda: self.move(1))
        on(self._ui.segmentationSelector, "nodeAddedByUser(vtkMRMLNode*)", self._new_by_user)

    def update(self, node: Any, reference: Any, active: bool) -> None:
        """Show the segments of `node`, and the editor while `active`; painting is done on the grid of `reference`."""
        self._fill(node)
        busy = active and self._entered
        if busy and self._editor is None:
            self._make_editor()
        if self._editor is not None:
            if not self._active:
                self._put_down()
            if busy:
                self._follow(node, reference)
            if busy != self._active:
                self._activate(busy)
        row = self._row()
        self._ui.removeSegmentButton.enabled = row >= 0
        self._ui.segmentUpButton.enabled = row > 0
        self._ui.segmentDownButton.enabled = 0 <= row < len(self._shown) - 1

    def enter(self) -> None:
        """The module is shown; the editor is made ready by the next update."""
        self._entered = True

    def exit(self) -> None:
        """Another module is shown: it may have a segment editor of its own."""
        self._entered = False
        if self._active:
            self._activate(False)

    def scene_closed(self) -> None:
        """The nodes are gone."""
        self.complaint = ""
        if self._editor is not None:
            self._activate(False)
            self._editor.setSegmentationNode(None)
            self._editor.setMRMLSegmentEditorNode(None)

    def cleanup(self) -> None:
        """The module ends."""
        if self._editor is not None:
            self.scene_closed()
            self._editor.deleteLater()
            self._editor = None

    def add(self) -> None:
        """Add a segment, and a segmentation where there is none."""
        from MSLFusionLib.scene.segmentations import add_segment, new_painting, segment_ids

        self.complaint = ""
        lam = self._section.parameters.lam
        if lam.segmentation is None:
            lam.segmentation = new_painting(slicer.mrmlScene, _("Painted lambda"), self._section.reference())
        node = lam.segmentation
        count = len(segment_ids(node))
        # What is painted first shall differ from the background as much as possible.
        value = _NEXT_LAMBDA if count else float(lam.background < _NEXT_LAMBDA)
        self._choose(add_segment(node, _("Region {n}").format(n=count + 1), value))
        self._section.panel.changed()

    def remove(self) -> None:
        """Remove the chosen segment, and choose the one that takes its place."""
        self.complaint = ""
        row = self._row()
        if row < 0:
            return
        left = [*self._shown[:row], *self._shown[row + 1 :]]
        node = self._section.parameters.lam.segmentation
        node.GetSegmentation().RemoveSegment(self._shown[row])
        if left:
            self._choose(left[min(row, len(left) - 1)])
        self._section.panel.changed()

    def move(self, by: int) -> None:
        """Move the chosen segment along the list: where two overlap the lower one wins."""
        from MSLFusionLib.scene.segmentations import move_segment

        self.complaint = ""
        if self._row() >= 0:
            move_segment(self._section.parameters.lam.segmentation, self._shown[self._row()], by)
            self._section.panel.changed()

    def _editor_node(self) -> Any:
        """The singleton that keeps the chosen segment and the tools' settings, apart from those of Segment Editor."""
        scene = slicer.mrmlScene
        node = scene.GetSingletonNode(_EDITOR_TAG, "vtkMRMLSegmentEditorNode")
        if node is None:
            node = scene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
            node.UnRegister(None)
            node.SetSingletonTag(_EDITOR_TAG)
            node.SetSaveWithScene(False)  # a scene that is opened shall put no tool into the user's hand
            node = scene.AddNode(node)
        return node

    def _make_editor(self) -> None:
        editor = slicer.qMRMLSegmentEditorWidget()
        editor.setMaximumNumberOfUndoStates(_UNDO_STATES)
        editor.effectColumnCount = _COLUMNS
        editor.setEffectNameOrder(list(_EFFECTS))
        editor.unorderedEffectsVisible = False
        editor.segmentationNodeSelectorVisible = False
        editor.sourceVolumeNodeSelectorVisible = False
        editor.addRemoveSegmentButtonsVisible = False
        editor.switchToSegmentationsButtonVisible = False
        editor.show3DButtonVisible = False
        editor.autoShowSourceVolumeNode = False  # the hybrid shall stay in the views
        editor.setMRMLSegmentEditorNode(self._editor_node())
        editor.setMRMLScene(slicer.mrmlScene)
        _arrange(editor)
        self._section.on(editor, "currentSegmentIDChanged(QString)", self._segment_chosen)
        self._ui.segmentEditorFrame.layout().addWidget(editor)
        self._editor = editor

    def _put_down(self) -> None:
        """No tool is held: neither that of a scene that was closed, nor one that a scene was saved with."""
        editor, editor_node = self._editor, self._editor_node()
        if editor.mrmlSegmentEditorNode() is not editor_node:
            editor_node.SetActiveEffectName("")  # the widget keeps its tool while a scene is closed
            editor.setMRMLSegmentEditorNode(editor_node)
        elif editor_node.GetActiveEffectName():
            editor.setActiveEffect(None)

    def _follow(self, node: Any, reference: Any) -> None:
        editor = self._editor
        editor_node = self._editor_node()
        if editor.mrmlSegmentEditorNode() is not editor_node:
            self._put_down()
        if editor.segmentationNode() is not node:
            editor.setSegmentationNode(node)
        if node is not None and editor.sourceVolumeNode() is not reference:
            editor.setSourceVolumeNode(reference)

    def _activate(self, active: bool) -> None:
        self._active = active
        if active:
            self._editor.installKeyboardShortcuts()
            self._editor.updateWidgetFromMRML()
        else:
            self._editor.setActiveEffect(None)
            self._editor.uninstallKeyboardShortcuts()
            self._editor.removeViewObservations()

    def _fill(self, node: Any) -> None:
        """Bring the table up to date; a cell that is being edited is not touched."""
        from MSLFusionLib.scene.segmentations import segment_ids

        table = self._ui.segmentsTable
        self._filling = True
        try:
            self._shown = [] if node is None else segment_ids(node)
            table.setRowCount(len(self._shown))
            for row, segment_id in enumerate(self._shown):
                segment = node.GetSegmentation().GetSegment(segment_id)
                texts = {
                    NAME: segment.GetName(),
                    COLOR: "",
                    LAMBDA: _text(node, segment_id, "segment_lambda"),
                    FEATHER: _text(node, segment_id, "segment_feather"),
                }
                for column, text in texts.items():
                    _set(table, row, column, text)
                color = qt.QColor(*(round(255 * part) for part in segment.GetColor()))
                table.item(row, COLOR).setData(qt.Qt.DecorationRole, color)  # seen in a selected row, too
            self._select(table)
            rows = min(max(len(self._shown), 2), _MOST_ROWS)
            height = table.horizontalHeader().sizeHint.height() + rows * table.verticalHeader().defaultSectionSize + 4
            if table.maximumHeight != height:
                table.setMaximumHeight(height)
                table.setMinimumHeight(height)
        finally:
            self._filling = False

    def _select(self, table: Any) -> None:
        chosen = slicer.mrmlScene.GetSingletonNode(_EDITOR_TAG, "vtkMRMLSegmentEditorNode")
        chosen = None if chosen is None else chosen.GetSelectedSegmentID()
        row = self._shown.index(chosen) if chosen in self._shown else 0 if self._shown else -1
        if row != table.currentRow():
            table.setCurrentCell(row, NAME)

    def _row(self) -> int:
        row = self._ui.segmentsTable.currentRow()
        return row if 0 <= row < len(self._shown) else -1

    def _choose(self, segment_id: str) -> None:
        self._editor_node().SetSelectedSegmentID(segment_id)

    def _row_chosen(self) -> None:
        if not self._filling and self._row() >= 0:
            self._choose(self._shown[self._row()])
            self._section.panel.changed()

    def _segment_chosen(self, _segment_id: str) -> None:
        self._section.panel.changed()

    def _new_by_user(self, node: Any) -> None:
        """The selector made a segmentation: it gets the CT's grid and a first segment."""
        self._section.parameters.lam.segmentation = node
        node.CreateDefaultDisplayNodes()
        if self._section.reference() is not None:
            node.SetReferenceImageGeometryParameterFromVolumeNode(self._section.reference())
        self.add()

    def _edited(self, row: int, column: int) -> None:
        if self._filling or row >= len(self._shown) or column == COLOR:
            return
        self.complaint = ""
        node = self._section.parameters.lam.segmentation
        text = self._ui.segmentsTable.item(row, column).text().strip()
        try:
            self._write(node, self._shown[row], column, text)
        except InputError as error:
            self.complaint = str(error)
        # Also after an error: the table shows what the segmentation has.
        self._section.panel.changed()

    def _write(self, node: Any, segment_id: str, column: int, text: str) -> None:
        from MSLFusionLib.scene.segmentations import segment_feather, segment_lambda, tag_segment

        segment = node.GetSegmentation().GetSegment(segment_id)
        name = segment.GetName()
        if column == NAME:
            if not text:
                raise InputError(_("A segment needs a name."))
            segment.SetName(text)
            return
        number = _number(text)
        if column == LAMBDA:
            if number is None or not 0.0 <= number <= 1.0:
                raise InputError(
                    _("Lambda of '{name}' must be a number from 0 (CT) to 1 (MR), not '{text}'.").format(
                        name=name, text=text
                    )
                )
            tag_segment(node, segment_id, number, _or(lambda: segment_feather(node, segment_id), 0.0))
            return
        if number is None or number < 0.0:
            raise InputError(
                _("The feather of '{name}' must be a length in mm, 0 or more, not '{text}'.").format(
                    name=name, text=text
                )
            )
        lam = _or(lambda: segment_lambda(node, segment_id), None)
        if lam is None:
            raise InputError(_("Give '{name}' a lambda first.").format(name=name))
        tag_segment(node, segment_id, lam, number)


def _arrange(editor: Any) -> None:
    """The tools in rows over the whole width, undo beside them, what belongs to the chosen one below.

    What a release of Slicer names otherwise stays as it is there.
    """
    # Its table of segments is replaced by ours, which has lambda.
    for child in (
        *slicer.util.findChildren(editor, name="SegmentsTableResizableFrame"),
        *slicer.util.findChildren(editor, className="qMRMLSegmentsTableView"),
    ):
        child.hide()
    for masking in slicer.util.findChildren(editor, name="MaskingGroupBox"):
        masking.collapsed = True
    tools, below = "verticalLayout_3", "verticalLayout"
    for name, direction in (
        ("horizontalLayout", qt.QBoxLayout.TopToBottom),
        (tools, qt.QBoxLayout.LeftToRight),
        (below, None),
    ):
        for layout in editor.findChildren("QBoxLayout", name):
            if direction is not None:
                layout.setDirection(direction)
            for i in range(layout.count()):
                spacer = layout.itemAt(i).spacerItem()
                if spacer is not None:
                    spacer.changeSize(0, 0)
            layout.invalidate()
    editor.layout().setContentsMargins(0, 0, 0, 0)


def _set(table: Any, row: int, column: int, text: str) -> None:
    item = table.item(row, column)
    if item is None:
        item = qt.QTableWidgetItem(text)
        if column == COLOR:
            item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
        table.setItem(row, column, item)
    elif item.text() != text:
        item.setText(text)


def _text(node: Any, segment_id: str, getter: str) -> str:
    """What the table shows of a tag; nothing where it is missing or unusable."""
    from MSLFusionLib.scene import segmentations

    value = _or(lambda: getattr(segmentations, getter)(node, segment_id), None)
    return "" if value is None else f"{value:.4g}"


def _or(get: Any, otherwise: Any) -> Any:
    """The value, or the other one where the tag is unusable."""
    try:
        return get()
    except InputError:
        return otherwise


def _number(text: str) -> float | None:
    """The finite number that the text is, with a comma or a point."""
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        return None
    return number if math.isfinite(number) else None
