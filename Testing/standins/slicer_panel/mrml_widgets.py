"""The widgets of Slicer that work on the MRML scene: node selector, segment editor, segments table, players."""

from __future__ import annotations

from typing import Any, ClassVar

from PySide6 import QtCore, QtWidgets

from .widgets import BEHAVIOUR, Base, build, in_a_row


class MRMLWidget(Base):
    scene: Any = None

    def mrmlScene(self) -> Any:
        return self.scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self.scene:
            self.scene = scene
            self.scene_changed()
            self.emit_signal("mrmlSceneChanged(vtkMRMLScene*)", scene)

    def scene_changed(self) -> None:
        """The scene is another one, or none."""


class NodeComboBox(MRMLWidget):
    """qMRMLNodeComboBox.cxx: lists the nodes of its types, follows the scene, keeps its choice by node ID."""

    defaults: ClassVar[dict[str, Any]] = {
        "addEnabled": True,
        "removeEnabled": True,
        "selectNodeUponCreation": True,
        "noneDisplay": "None",
        "showChildNodeTypes": True,
    }

    def start(self) -> None:
        self.box = QtWidgets.QComboBox()
        self.box.setSizeAdjustPolicy(QtWidgets.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        self.box.setMinimumContentsLength(8)
        in_a_row(self, self.box)
        self.box.setFocusPolicy(QtCore.Qt.NoFocus)  # its proxy is this widget (setComboBox), which takes no focus
        self.setSizePolicy(QtWidgets.QSizePolicy.Preferred, QtWidgets.QSizePolicy.Fixed)
        self.attributes: dict[tuple[str, str], Any] = {}
        self.seen: dict[str, Any] = {}
        self.current = self.requested = self.text = ""
        self.box.activated.connect(self.activated)
        self.setEnabled(False)

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self.scene:
            return
        self.observers.drop("scene")
        self.scene = scene
        self.setEnabled(scene is not None)
        if scene is not None:
            for event in (scene.NodeAddedEvent, scene.NodeAboutToBeRemovedEvent, scene.NodeRemovedEvent):
                self.observers.add("scene", scene, event, self.scene_event)
            for event in (scene.EndCloseEvent, scene.EndImportEvent, scene.EndBatchProcessEvent):
                self.observers.add("scene", scene, event, lambda *_args: self.refill())
        self.refill(select=self.requested or None)

    def scene_event(self, event: str, node: Any) -> None:
        if event == "NodeAboutToBeRemovedEvent":
            if self.fits(node):
                self.emit_signal("nodeAboutToBeRemoved(vtkMRMLNode*)", node)
        elif not self.scene.IsBatchProcessing():
            self.refill()
            if event == "NodeAddedEvent" and self.fits(node):
                self.emit_signal("nodeAdded(vtkMRMLNode*)", node)

    def fits(self, node: Any) -> bool:
        kinds = self.property("nodeTypes") or []
        if node.GetHideFromEditors() and not self.property("showHidden"):
            return False
        exact = not self.property("showChildNodeTypes")
        kind = next((k for k in kinds if node.GetClassName() == k or (not exact and node.IsA(k))), None)
        if kind is None or any(node.IsA(k) for k in self.property("hideChildNodeTypes") or [] if k not in kinds):
            return False
        wanted = [(n, v) for (k, n), v in self.attributes.items() if k == kind]
        return all(node.GetAttribute(n) is not None and v in (None, node.GetAttribute(n)) for n, v in wanted)

    def nodes(self) -> list[Any]:
        every = [] if self.scene is None else [self.scene.GetNthNode(i) for i in range(self.scene.GetNumberOfNodes())]
        return [node for node in every if self.fits(node)]

    def refill(self, select: str | None = None) -> None:
        """List the nodes again. For a chosen node that is gone the next is chosen, or the last, even beside None."""
        nodes = {node.GetID(): node for node in self.nodes()}
        for key in [k for k in self.seen if nodes.get(k) is not self.seen[k]]:
            self.observers.drop(key)
        for key in [k for k in nodes if self.seen.get(k) is not nodes[k]]:
            self.observers.add(key, nodes[key], "ModifiedEvent", lambda *_args: self.rename())
        before, self.seen = list(self.seen), nodes
        self.box.clear()
        if self.property("noneEnabled"):
            self.box.addItem(self.property("noneDisplay"), "")
        for key, node in nodes.items():
            self.box.addItem(node.GetName(), key)
        wanted = self.current if select is None else select
        if not wanted and select is None and nodes and not self.property("noneEnabled"):
            wanted = next(iter(nodes))
        elif wanted and wanted not in nodes:
            place = before.index(wanted) if wanted in before else len(nodes)
            wanted = [*nodes, ""][min(place, len(nodes) - 1)]
        self.choose(wanted)

    def rename(self) -> None:
        for key, node in self.seen.items():
            index = self.box.findData(key)
            if index >= 0 and self.box.itemText(index) != node.GetName():
                self.box.setItemText(index, node.GetName())
        self.choose(self.current)

    def choose(self, key: str) -> None:
        """Signals follow the text of the combo box: none for a node of the same name, and again for a new name."""
        index = self.box.findData(key)
        self.current = key if index >= 0 else ""
        self.box.setCurrentIndex(index if self.current else self.box.findData(""))
        before, self.text = self.text, self.box.currentText()
        if before == self.text:
            return
        key, node = self.current, self.currentNode()
        self.emit_signal("currentNodeChanged(vtkMRMLNode*)", node)
        self.emit_signal("currentNodeChanged(bool)", node is not None)
        self.emit_signal("currentNodeIDChanged(QString)", key)

    def activated(self, index: int) -> None:
        self.choose(self.box.itemData(index) or "")
        self.emit_signal("nodeActivated(vtkMRMLNode*)", self.currentNode())

    def changed(self, name: str) -> None:
        if name in (
            "nodeTypes",
            "showHidden",
            "showChildNodeTypes",
            "hideChildNodeTypes",
            "noneEnabled",
            "noneDisplay",
        ):
            self.refill()

    def addAttribute(self, kind: str, name: str, value: Any = None) -> None:
        self.attributes[kind, name] = None if value is None else str(value)
        self.refill()

    def removeAttribute(self, kind: str, name: str) -> None:
        self.attributes.pop((kind, name), None)
        self.refill()

    def currentNode(self) -> Any:
        return self.scene.GetNodeByID(self.current) if self.scene is not None and self.current else None

    def read_currentNodeID(self) -> str:
        return self.current

    def write_currentNodeID(self, key: str) -> None:
        if self.scene is None:
            self.requested = key
        else:
            self.choose(key)

    def setCurrentNodeID(self, key: str | None) -> None:
        self.write_currentNodeID(key or "")

    def setCurrentNode(self, node: Any) -> None:
        self.write_currentNodeID("" if node is None else node.GetID() or "")

    def setCurrentNodeIndex(self, index: int) -> None:
        self.choose(self.nodes()[index].GetID() if 0 <= index < len(self.nodes()) else "")

    def nodeCount(self) -> int:
        return len(self.nodes())

    def nodeFromIndex(self, index: int) -> Any:
        return self.nodes()[index] if 0 <= index < len(self.nodes()) else None

    def setNodeTypeLabel(self, _label: str, _kind: str) -> None:
        """Only wording in the menu."""

    def addMenuAction(self, action: Any) -> None:
        self.box.addAction(action)

    def addNode(self, kind: str = "") -> Any:
        kind = kind or (self.property("nodeTypes") or [""])[0]
        if kind not in self.property("nodeTypes"):
            return None
        name = self.property("baseName") or self.scene.GetTypeDisplayNameByClassName(kind) or kind
        node = self.scene.AddNewNodeByClass(kind, self.scene.GenerateUniqueName(name))
        for (k, attribute), value in self.attributes.items():
            if k == kind:
                node.SetAttribute(attribute, value or "")
        self.refill()
        if self.property("selectNodeUponCreation"):
            self.setCurrentNode(node)
        self.emit_signal("nodeAddedByUser(vtkMRMLNode*)", node)
        return node

    def removeCurrentNode(self) -> None:
        self.scene.RemoveNode(self.currentNode())


class SegmentsTableView(MRMLWidget):
    node: Any = None

    def start(self) -> None:
        self.table = QtWidgets.QTableWidget(0, 1)
        self.table.horizontalHeader().setStretchLastSection(True)
        in_a_row(self, self.table)

    def segmentationNode(self) -> Any:
        return self.node

    def setSegmentationNode(self, node: Any) -> None:
        self.observers.drop("node")
        self.node = node
        if node is not None:
            segmentation = node.GetSegmentation()
            for event in (segmentation.SegmentAdded, segmentation.SegmentRemoved, segmentation.SegmentModified):
                self.observers.add("node", node, event, lambda *_args: self.refill())
        self.refill()

    def displayedSegmentIDs(self) -> list[str]:
        return list(self.node.GetSegmentation().GetSegmentIDs()) if self.node is not None else []

    def refill(self) -> None:
        self.table.setRowCount(len(self.displayedSegmentIDs()))
        for row, key in enumerate(self.displayedSegmentIDs()):
            name = self.node.GetSegmentation().GetSegment(key).GetName()
            self.table.setItem(row, 0, QtWidgets.QTableWidgetItem(name))

    def selectedSegmentIDs(self) -> list[str]:
        keys = self.displayedSegmentIDs()
        return [keys[i.row()] for i in self.table.selectionModel().selectedRows()]

    def setSelectedSegmentIDs(self, chosen: list[str]) -> None:
        self.table.clearSelection()
        for row, key in enumerate(self.displayedSegmentIDs()):
            if key in chosen:
                self.table.selectRow(row)

    def clearSelection(self) -> None:
        self.table.clearSelection()


class Effect(Base):
    """qSlicerSegmentEditorAbstractEffect.h, as far as its parameters in the editor node go."""

    def begin(self, name: str, editor: Any) -> Effect:
        self.values["name"], self.editor = name, editor
        return self

    def parameter(self, name: str) -> str:
        return self.editor.node.GetAttribute(f"{self.values['name']}.{name}") or ""

    def setParameter(self, name: str, value: Any) -> None:
        self.editor.node.SetAttribute(f"{self.values['name']}.{name}", str(value))


class SegmentEditor(MRMLWidget):
    """qMRMLSegmentEditorWidget.cxx over the real vtkMRMLSegmentEditorNode; nothing is painted by mouse.

    `shortcuts` and `views` say whether keyboard shortcuts and view observations are installed.
    """

    defaults: ClassVar[dict[str, Any]] = {
        "undoEnabled": True,
        "maximumNumberOfUndoStates": 10,
        "unorderedEffectsVisible": True,
        "segmentationNodeSelectorVisible": True,
        "sourceVolumeNodeSelectorVisible": True,
        "switchToSegmentationsButtonVisible": True,
        "addRemoveSegmentButtonsVisible": True,
        "maskingSectionVisible": True,
        "specifyGeometryButtonVisible": True,
        "show3DButtonVisible": True,
        "autoShowSourceVolumeNode": True,
        "effectColumnCount": 2,
    }
    node: Any = None
    active: Any = None
    shortcuts = views = False
    EFFECTS = ("Threshold", "Paint", "Draw", "Erase", "Level tracing", "Grow from seeds", "Fill between slices",
               "Margin", "Hollow", "Smoothing", "Scissors", "Islands", "Logical operators", "Mask volume")  # fmt: skip

    def start(self) -> None:
        self.order: list[str] = []
        self.effects = {
            name: build("qSlicerSegmentEditorAbstractEffect")(self).begin(name, self) for name in self.EFFECTS
        }
        self.seen: tuple[Any, ...] = (None, None, "")
        self.table = build("qMRMLSegmentsTableView")()
        self.lay_out()
        self.updateEffectList()

    def lay_out(self) -> None:
        """As in qMRMLSegmentEditorWidget.ui: tools and undo at the left, table, options and masking at the right."""
        row, left, right = QtWidgets.QHBoxLayout(), QtWidgets.QVBoxLayout(), QtWidgets.QVBoxLayout()
        for layout, name in ((row, "horizontalLayout"), (left, "verticalLayout_3"), (right, "verticalLayout")):
            layout.setObjectName(name)
        QtWidgets.QGridLayout(self).addLayout(row, 3, 0)
        row.addLayout(left)
        row.addLayout(right)
        frame = QtWidgets.QFrame()
        QtWidgets.QVBoxLayout(frame).addWidget(self.table)
        self.effects_box, undo = QtWidgets.QFrame(), QtWidgets.QFrame()
        QtWidgets.QGridLayout(self.effects_box)
        buttons = QtWidgets.QHBoxLayout(undo)
        for text in ("Undo", "Redo"):
            button = QtWidgets.QToolButton(toolTip=text)
            button.setMinimumSize(32, 31)
            buttons.addWidget(button)
        options, masking = QtWidgets.QGroupBox(), build("ctkCollapsibleGroupBox")()
        options.hide()
        for layout, widget, name in (
            (left, self.effects_box, "EffectsGroupBox"),
            (left, undo, "UndoRedoGroupBox"),
            (right, frame, "SegmentsTableResizableFrame"),
            (right, options, "OptionsGroupBox"),
            (right, masking, "MaskingGroupBox"),
        ):
            widget.setObjectName(name)
            layout.addWidget(widget)
        for layout in (left, right):
            layout.addItem(
                QtWidgets.QSpacerItem(20, 40, QtWidgets.QSizePolicy.Minimum, QtWidgets.QSizePolicy.Expanding)
            )

    def scene_changed(self) -> None:
        self.updateWidgetFromMRML()

    def mrmlSegmentEditorNode(self) -> Any:
        return self.node

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        if node is self.node:
            return
        self.observers.drop("node")
        self.node = node
        if node is not None:
            self.observers.add("node", node, "ModifiedEvent", lambda *_args: self.updateWidgetFromMRML())
        self.updateWidgetFromMRML()

    def updateWidgetFromMRML(self) -> None:
        if self.scene is None or self.node is None or self.scene.IsClosing() or self.scene.IsBatchProcessing():
            return
        chosen = self.effects.get(self.node.GetActiveEffectName() or "")
        if chosen is not self.active:  # the one place where views are observed: not for a tool that is there already
            self.active, self.views = chosen, self.views or chosen is not None
        now = (self.segmentationNode(), self.sourceVolumeNode(), self.currentSegmentID())
        before, self.seen = self.seen, now
        if now[0] is not before[0]:
            self.table.setSegmentationNode(now[0])
            if now[0] is not None:
                now[0].CreateDefaultDisplayNodes()
            self.emit_signal("segmentationNodeChanged(vtkMRMLSegmentationNode*)", now[0])
        if now[1] is not before[1]:
            self.emit_signal("sourceVolumeNodeChanged(vtkMRMLVolumeNode*)", now[1])
        if now[2] != before[2]:
            self.table.setSelectedSegmentIDs([now[2]])
            self.emit_signal("currentSegmentIDChanged(QString)", now[2])

    def segmentationNode(self) -> Any:
        return self.node.GetSegmentationNode() if self.node is not None else None

    def segmentationNodeID(self) -> str:
        return self.segmentationNode().GetID() if self.segmentationNode() else ""

    def sourceVolumeNode(self) -> Any:
        return self.node.GetSourceVolumeNode() if self.node is not None else None

    def sourceVolumeNodeID(self) -> str:
        return self.sourceVolumeNode().GetID() if self.sourceVolumeNode() else ""

    def currentSegmentID(self) -> str:
        return (self.node.GetSelectedSegmentID() or "") if self.node is not None else ""

    def setSegmentationNode(self, node: Any) -> None:
        if self.node is None or self.segmentationNode() is node:
            return
        self.node.SetAndObserveSegmentationNode(node)
        self.setActiveEffect(None)
        if node is not None and node.GetSegmentation().GetNumberOfSegments() and not self.currentSegmentID():
            self.node.SetSelectedSegmentID(node.GetSegmentation().GetNthSegmentID(0))

    def setSegmentationNodeID(self, key: str) -> None:
        self.setSegmentationNode(self.scene.GetNodeByID(key) if key else None)

    def setSourceVolumeNode(self, node: Any) -> None:
        if self.node is None:
            return
        self.node.SetAndObserveSourceVolumeNode(node)
        segmentation = self.segmentationNode()
        if segmentation is not None and node is not None:
            segmentation.SetReferenceImageGeometryParameterFromVolumeNode(node)

    def setSourceVolumeNodeID(self, key: str) -> None:
        self.setSourceVolumeNode(self.scene.GetNodeByID(key) if key else None)

    def setCurrentSegmentID(self, key: str) -> None:
        if self.node is not None:
            self.node.SetSelectedSegmentID(key)

    def effectByName(self, name: str) -> Any:
        return self.effects.get(name)

    def availableEffectNames(self) -> list[str]:
        return list(self.effects)

    def setEffectNameOrder(self, names: list[str]) -> None:
        self.order = list(names)
        self.updateEffectList()

    def write_effectColumnCount(self, count: int) -> None:
        self.values["effectColumnCount"] = count
        self.updateEffectList()

    def write_unorderedEffectsVisible(self, visible: bool) -> None:
        self.values["unorderedEffectsVisible"] = visible
        self.updateEffectList()

    def effectNameOrder(self) -> list[str]:
        return self.order

    def shown(self) -> list[str]:
        rest = [n for n in self.effects if n not in self.order] if self.property("unorderedEffectsVisible") else []
        return [n for n in self.order if n in self.effects] + rest

    def effectCount(self) -> int:
        return len(self.shown())

    def effectByIndex(self, index: int) -> Any:
        return self.effects[self.shown()[index]]

    def updateEffectList(self) -> None:
        grid = self.effects_box.layout()
        for i in reversed(range(grid.count())):
            grid.takeAt(i).widget().deleteLater()
        for i, name in enumerate(["NULL", *self.shown()]):
            button = QtWidgets.QToolButton(toolTip=name)
            button.setMinimumSize(32, 31)  # as with their pictures
            button.setSizePolicy(QtWidgets.QSizePolicy.MinimumExpanding, QtWidgets.QSizePolicy.Fixed)
            grid.addWidget(button, *divmod(i, self.property("effectColumnCount")))

    def activeEffect(self) -> Any:
        return self.active

    def setActiveEffect(self, effect: Any) -> None:
        if self.node is not None:
            self.node.SetActiveEffectName(effect.values["name"] if effect is not None else "")

    def setActiveEffectByName(self, name: str) -> None:
        self.setActiveEffect(self.effectByName(name))

    def installKeyboardShortcuts(self, _parent: Any = None) -> None:
        self.shortcuts = True

    def uninstallKeyboardShortcuts(self) -> None:
        self.shortcuts = False

    def setupViewObservations(self) -> None:
        self.views = True

    def removeViewObservations(self) -> None:
        self.views = False

    def saveStateForUndo(self) -> None:
        """Nothing is painted by mouse here, so nothing is undone."""

    def hideLabelLayer(self) -> None:
        for i in range(self.scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
            self.scene.GetNthNodeByClass(i, "vtkMRMLSliceCompositeNode").SetLabelVolumeID(None)


class PlayWidget(MRMLWidget):
    defaults: ClassVar[dict[str, Any]] = {"RecordingControlsVisible": True}
    node: Any = None

    def start(self) -> None:
        in_a_row(self, *(QtWidgets.QPushButton(text) for text in ("|<", "<", "Play", ">", ">|")))

    def setMRMLSequenceBrowserNode(self, node: Any) -> None:
        self.node = node

    def onVcrFirst(self) -> None:
        self.node.SelectFirstItem()

    def onVcrLast(self) -> None:
        self.node.SelectLastItem()

    def onVcrNext(self) -> None:
        self.node.SelectNextItem(1)

    def onVcrPrevious(self) -> None:
        self.node.SelectNextItem(-1)

    def onVcrPlayPause(self) -> None:
        self.setPlaybackEnabled(not self.node.GetPlaybackActive())

    def setPlaybackEnabled(self, play: bool) -> None:
        self.node.SetPlaybackActive(play)

    def setPlaybackRateFps(self, rate: float) -> None:
        self.node.SetPlaybackRateFps(rate)

    def setPlaybackLoopEnabled(self, loop: bool) -> None:
        self.node.SetPlaybackLooped(loop)


class SceneOnly(Base):
    """What qMRMLSliderWidget and qMRMLSpinBox add: a scene, for the units in it."""

    scene: Any = None

    def mrmlScene(self) -> Any:
        return self.scene

    def setMRMLScene(self, scene: Any) -> None:
        self.scene = scene


BEHAVIOUR.update(
    qMRMLWidget=MRMLWidget,
    qMRMLNodeComboBox=NodeComboBox,
    qMRMLCollapsibleButton=MRMLWidget,
    qMRMLSliderWidget=SceneOnly,
    qMRMLSpinBox=SceneOnly,
    qMRMLSegmentEditorWidget=SegmentEditor,
    qMRMLSegmentsTableView=SegmentsTableView,
    qMRMLSequenceBrowserPlayWidget=PlayWidget,
    qSlicerSegmentEditorAbstractEffect=Effect,
)
