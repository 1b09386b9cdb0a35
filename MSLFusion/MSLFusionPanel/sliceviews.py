"""Volumes in the slice views for a while: what a view showed before is kept at its composite node.

It is kept there, as node references and attributes, and not in Python, so that it can be taken back in a scene that
was saved meanwhile and opened again.
"""

from collections.abc import Sequence
from typing import Any

import slicer

_BACKGROUND_ROLE = "MSLFusion.BackgroundBefore"
_FOREGROUND_ROLE = "MSLFusion.ForegroundBefore"
_OPACITY = "MSLFusion.OpacityBefore"
_COMPOSITING = "MSLFusion.CompositingBefore"
SHOWN = "MSLFusion.Shown"
"""Attribute of a composite node that shows other volumes for a while: their IDs."""


def slice_composites() -> list[Any]:
    """The composite nodes of the slice views of the present layout; empty without a main window."""
    layouts = slicer.app.layoutManager()
    if layouts is None:
        return []
    widgets = [layouts.sliceWidget(name) for name in layouts.sliceViewNames()]
    return [widget.mrmlSliceCompositeNode() for widget in widgets if widget is not None]


def show_layers(
    composites: Sequence[Any], background: Any, foreground: Any = None, opacity: float = 1.0, add: bool = False
) -> None:
    """Show a volume, and another one over it (None: nothing), in these views; `add`: the sum of their colours.

    The link between views stays as it is: each view is set by itself.
    """
    shown = f"{background.GetID()} {foreground.GetID() if foreground is not None else ''}"
    for composite in composites:  # all of them first: linked views take over each other's opacity
        if composite.GetAttribute(SHOWN) is None:
            _remember(composite)
    for composite in composites:
        modifying = composite.StartModify()
        composite.SetBackgroundVolumeID(background.GetID())
        composite.SetForegroundVolumeID(None if foreground is None else foreground.GetID())
        composite.SetForegroundOpacity(opacity)
        composite.SetCompositing(composite.Add if add else composite.Alpha)
        composite.SetAttribute(SHOWN, shown)
        composite.EndModify(modifying)


def exchange(old: Any, new: Any) -> None:
    """Let the views that show one volume show another one in its place."""
    for composite in slice_composites():
        if composite.GetBackgroundVolumeID() == old.GetID():
            composite.SetBackgroundVolumeID(new.GetID())
        if composite.GetForegroundVolumeID() == old.GetID():
            composite.SetForegroundVolumeID(new.GetID())


def set_opacity(opacity: float) -> None:
    """Fade the foreground in the views that show_layers changed."""
    for composite in _changed():
        composite.SetForegroundOpacity(opacity)


def take_back() -> None:
    """Let every view show what it showed before; one where something else was chosen meanwhile keeps that."""
    for composite in _changed():
        modifying = composite.StartModify()
        if _shows_ours(composite):
            composite.SetBackgroundVolumeID(_reference(composite, _BACKGROUND_ROLE))
            composite.SetForegroundVolumeID(_reference(composite, _FOREGROUND_ROLE))
        composite.SetForegroundOpacity(float(composite.GetAttribute(_OPACITY) or 0.0))
        composite.SetCompositing(int(composite.GetAttribute(_COMPOSITING) or composite.Alpha))
        for role in (_BACKGROUND_ROLE, _FOREGROUND_ROLE):
            composite.RemoveNodeReferenceIDs(role)
        for name in (SHOWN, _OPACITY, _COMPOSITING):
            composite.RemoveAttribute(name)
        composite.EndModify(modifying)


def _remember(composite: Any) -> None:
    composite.SetNodeReferenceID(_BACKGROUND_ROLE, composite.GetBackgroundVolumeID())
    composite.SetNodeReferenceID(_FOREGROUND_ROLE, composite.GetForegroundVolumeID())
    composite.SetAttribute(_OPACITY, repr(composite.GetForegroundOpacity()))
    composite.SetAttribute(_COMPOSITING, str(composite.GetCompositing()))


def _shows_ours(composite: Any) -> bool:
    """Whether the layers are those that show_layers set, or empty because these volumes are gone."""
    ours = {None, *composite.GetAttribute(SHOWN).split()}
    present = composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()
    return all(layer in ours or slicer.mrmlScene.GetNodeByID(layer) is None for layer in present)


def _reference(composite: Any, role: str) -> str | None:
    node = composite.GetNodeReference(role)
    return None if node is None else node.GetID()


def _changed() -> list[Any]:
    """The composite nodes that show_layers changed, of views in other layouts too."""
    found = slicer.mrmlScene.GetNodesByClass("vtkMRMLSliceCompositeNode")
    found.UnRegister(None)
    nodes = [found.GetItemAsObject(i) for i in range(found.GetNumberOfItems())]
    return [node for node in nodes if node.GetAttribute(SHOWN) is not None]
