"""CT and MR on one another in the slice views: fading, red against cyan, as a checkerboard."""

from collections.abc import Generator
from enum import Enum
from typing import TYPE_CHECKING, Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from MSLFusionPanel.checkerboard import checkerboard_steps, voxels_to_voxels, window_of
from MSLFusionPanel.hidden import hidden_node, remove
from MSLFusionPanel.inputs import mr_on_grid, volume_state
from MSLFusionPanel.pairs import names
from MSLFusionPanel.sliceviews import set_opacity, show_layers, slice_composites, take_back

if TYPE_CHECKING:
    from MSLFusionPanel.coregister import CoregisterSection

_RED, _CYAN, _GREY = "vtkMRMLColorTableNodeRed", "vtkMRMLColorTableNodeCyan", "vtkMRMLColorTableNodeGrey"


class Check(Enum):
    """How the two are compared."""

    OFF = "off"
    CHECKERBOARD = "checkerboard"
    FADE = "fade"
    RED_CYAN = "red-cyan"

    def label(self) -> str:
        """What the selector shows."""
        return {
            Check.OFF: _("Off"),
            Check.CHECKERBOARD: _("Checkerboard"),
            Check.FADE: _("Fade"),
            Check.RED_CYAN: _("Red and cyan"),
        }[self]


class Comparison:
    """The selector, the slider, and what they show.

    It stays when another module is opened. The volumes themselves are not touched: what is shown otherwise is a hidden
    volume that is not saved. What the views showed before is kept in the scene, see sliceviews.
    """

    def __init__(self, section: "CoregisterSection") -> None:
        self._section = section
        self._ui = section.ui
        self._hidden: list[Any] = []
        self._observed: list[tuple[Any, list[int]]] = []
        self._shown: Any = None
        self._building: Generator[None, None, Any] | None = None

    def setup(self) -> None:
        """Fill the selector and connect the widgets."""
        selector = self._ui.checkSelector
        for check in Check:
            selector.addItem(check.label(), check.value)
        self._section.on(selector, "currentIndexChanged(int)", lambda _index: self.update())
        self._section.on(self._ui.fadeSlider, "valueChanged(double)", lambda _value: self._fade())
        layouts = slicer.app.layoutManager()
        if layouts is not None:
            layouts.connect("layoutChanged(int)", self._changed)

    def update(self) -> None:
        """Show what the selector says of the present volumes; nothing happens when that is shown already."""
        words, red_cyan = names(self._section.parameters), list(Check).index(Check.RED_CYAN)
        text = _("Red ({fixed}) and cyan ({moving})").format(fixed=words.fixed, moving=words.moving)
        if self._ui.checkSelector.itemText(red_cyan) != text:
            self._ui.checkSelector.setItemText(red_cyan, text)
        check = Check(self._ui.checkSelector.itemData(self._ui.checkSelector.currentIndex))
        self._ui.fadeSlider.setVisible(check is Check.FADE)
        self._ui.fadeSliderLabel.setVisible(check is Check.FADE)
        pair = None if check is Check.OFF else self._pair()
        problem = "" if check is Check.OFF else self._problem(check, pair)
        pair = None if problem else pair
        self._observe(pair)
        if pair is None:  # also where a scene was saved while something was compared, and opened again
            self._shown = None
            self._take_back()
        else:
            self._show(check, *pair)
        making = _("Making the checkerboard …") if self._building is not None else ""
        self._section.message("checkMessage", problem or making, "info")

    def scene_closed(self) -> None:
        """The nodes are gone, the views show nothing."""
        self._forget()
        self._ui.checkSelector.currentIndex = 0

    def cleanup(self) -> None:
        """The module ends: the views get back what they showed."""
        layouts = slicer.app.layoutManager()
        if layouts is not None:
            layouts.disconnect("layoutChanged(int)", self._changed)
        self._take_back()
        self._forget()

    def _show(self, check: Check, ct: Any, mr: Any) -> None:
        views = slice_composites()
        wanted = (check, _state(ct), _state(mr), tuple(view.GetID() for view in views))
        if wanted == self._shown:
            return
        self._shown = wanted
        if check is Check.CHECKERBOARD:
            self._build(ct, mr)
        elif check is Check.FADE:
            show_layers(views, ct, mr, self._ui.fadeSlider.value)
            self._replace_hidden([])
        else:
            red, cyan = _coloured(ct, _RED), _coloured(mr, _CYAN)
            show_layers(views, red, cyan, add=True)
            self._replace_hidden([red, cyan])

    def _pair(self) -> tuple[Any, Any] | None:
        """The CT, and the MR on its grid or else as it lies."""
        parameters = self._section.parameters
        ct, mr = parameters.data.ct, mr_on_grid(parameters) or parameters.data.mr
        if any(node is None or node.GetImageData() is None or node.GetDisplayNode() is None for node in (ct, mr)):
            return None
        return (ct, mr) if ct is not mr else None

    def _problem(self, check: Check, pair: tuple[Any, Any] | None) -> str:
        if pair is None:
            words = names(self._section.parameters)
            sentence = _("There is nothing to compare: choose {fixed} and {moving} in section 1.")
            return sentence.format(fixed=words.fixed, moving=words.moving)
        if not slice_composites():
            return _("There are no slice views to compare in.")
        if check is Check.CHECKERBOARD and voxels_to_voxels(*pair) is None:
            return _("No checkerboard of volumes under a warping transform: choose another check, or harden it first.")
        return ""

    def _observe(self, pair: tuple[Any, Any] | None) -> None:
        """Follow what the panel itself does not: voxels, place and window of the two volumes."""
        wanted = [] if pair is None else list(pair)
        if wanted == [node for node, _tags in self._observed]:
            return
        for node, tags in self._observed:
            for tag in tags:
                node.RemoveObserver(tag)
        self._observed = [
            (node, [node.AddObserver(event, self._changed) for event in _events(node)]) for node in wanted
        ]

    def _changed(self, *_arguments: Any) -> None:
        self._section.panel.changed()

    def _fade(self) -> None:
        if self._shown is not None and self._shown[0] is Check.FADE:
            set_opacity(self._ui.fadeSlider.value)

    def _build(self, ct: Any, mr: Any) -> None:
        """Make the checkerboard; what is shown stays until it is there."""
        steps = self._building = checkerboard_steps(ct, mr)

        def portion() -> None:
            if self._building is not steps:
                return
            try:
                next(steps)
            except StopIteration as end:
                board = _board_node(end.value, ct)
                show_layers(slice_composites(), board)
                self._replace_hidden([board])
                self._section.message("checkMessage")
            else:
                qt.QTimer.singleShot(0, portion)

        qt.QTimer.singleShot(0, portion)

    def _take_back(self) -> None:
        take_back()
        self._replace_hidden([])

    def _replace_hidden(self, nodes: list[Any]) -> None:
        """Keep these hidden volumes in place of those that were shown before; a board that is made is not wanted."""
        self._building = None
        before, self._hidden = self._hidden, nodes
        for node in before:
            remove(node)

    def _forget(self) -> None:
        self._observe(None)
        self._hidden, self._shown, self._building = [], None, None


def _events(node: Any) -> tuple[int, ...]:
    return (
        vtk.vtkCommand.ModifiedEvent,
        node.ImageDataModifiedEvent,
        node.TransformModifiedEvent,
        node.DisplayModifiedEvent,
    )


def _state(node: Any) -> tuple[Any, ...]:
    """Changes when the volume looks otherwise in a slice view."""
    return (volume_state(node), window_of(node))


def _coloured(node: Any, color: str) -> Any:
    """A hidden volume with the voxels of `node` (not a copy of them) in another colour."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return _shown_volume(node.GetImageData(), matrix, node.GetParentTransformNode(), color, window_of(node))


def _board_node(board: Any, ct: Any) -> Any:
    from MSLFusionLib.scene.volumes import vtk_image

    matrix = vtk.vtkMatrix4x4()
    ct.GetIJKToRASMatrix(matrix)
    return _shown_volume(vtk_image(board), matrix, ct.GetParentTransformNode(), _GREY, (0.0, 255.0))


def _shown_volume(data: Any, matrix: Any, parent: Any, color: str, window: tuple[float, float]) -> Any:
    display = hidden_node("vtkMRMLScalarVolumeDisplayNode", "MSL Fusion check display")
    display.SetAndObserveColorNodeID(color)
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(*window)
    slicer.mrmlScene.AddNode(display)
    node = hidden_node("vtkMRMLScalarVolumeNode", "MSL Fusion check")
    node.SetIJKToRASMatrix(matrix)
    node.SetAndObserveImageData(data)
    slicer.mrmlScene.AddNode(node)
    node.SetAndObserveDisplayNodeID(display.GetID())
    node.SetAndObserveTransformNodeID(None if parent is None else parent.GetID())
    return node
