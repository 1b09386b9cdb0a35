"""A volume of ours as foreground of the slice views that show certain others, and what was there before.

The volume's node knows by itself what was in the foreground of each view, so that a saved scene can go on.
"""

from collections.abc import Set
from typing import Any

import slicer

from MSLFusionPanel import slices

_FORMER, _FORMER_OPACITY = "MSLFusion.Former", "MSLFusion.FormerOpacity"
_COMPARED = "MSLFusion.Shown"
"""What `sliceviews` leaves at the views where CT and MR are compared."""


def follow(node: Any, below: Set[str], opacity: float | None, first_opacity: float = 1.0) -> list[str]:
    """Put the node over the views whose background is one of `below` (IDs), and take it away from the others.

    opacity: in all of these views; None leaves to the user what begins with first_opacity. Returns the names of the
    views.
    """
    covered, present = [], slices.views()
    anew = [
        view
        for view in present
        if view.composite.GetBackgroundVolumeID() in below
        and view.composite.GetForegroundVolumeID() != node.GetID()
        and _may_cover(node, view)
    ]
    for view in anew:  # all of them first: linked views take over each other's opacity
        _remember(node, view)
    for view in present:
        composite = view.composite
        mine = composite.GetForegroundVolumeID() == node.GetID()
        if composite.GetBackgroundVolumeID() not in below:
            if mine:
                _restore(node, view)
            continue
        wanted = opacity
        if view in anew:
            composite.SetForegroundVolumeID(node.GetID())
            mine, wanted = True, first_opacity if opacity is None else opacity
        if mine and wanted is not None and composite.GetForegroundOpacity() != wanted:
            composite.SetForegroundOpacity(wanted)
        if mine:
            covered.append(view.name)
    return covered


def take_away(node: Any) -> None:
    """Take the node out of all views; what was in the foreground before comes back."""
    for view in sorted(slices.views(), key=lambda view: _former(node, view) is not None):
        if view.composite.GetForegroundVolumeID() == node.GetID():
            _restore(node, view)


def _may_cover(node: Any, view: slices.View) -> bool:
    """Not where CT and MR are compared, nor where another volume was put into the foreground after this one."""
    if view.composite.GetAttribute(_COMPARED) is not None:
        return False
    was_there = node.GetAttribute(f"{_FORMER_OPACITY}.{view.name}") is not None
    return not was_there or not view.composite.GetForegroundVolumeID()


def _remember(node: Any, view: slices.View) -> None:
    composite = view.composite
    node.SetNodeReferenceID(f"{_FORMER}.{view.name}", composite.GetForegroundVolumeID())
    node.SetAttribute(f"{_FORMER_OPACITY}.{view.name}", f"{composite.GetForegroundOpacity():g}")


def _former(node: Any, view: slices.View) -> str | None:
    """The ID of the volume that was in the foreground before, where it is still there."""
    former = node.GetNodeReferenceID(f"{_FORMER}.{view.name}")
    return former if former is not None and slicer.mrmlScene.GetNodeByID(former) is not None else None


def _restore(node: Any, view: slices.View) -> None:
    view.composite.SetForegroundVolumeID(_former(node, view))
    opacity = node.GetAttribute(f"{_FORMER_OPACITY}.{view.name}")
    if opacity is not None:
        view.composite.SetForegroundOpacity(float(opacity))
        node.RemoveAttribute(f"{_FORMER_OPACITY}.{view.name}")
