"""Restored and super-resolved volumes in the scene, with what they are compared with."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from MSLFusionPanel.pairresults import PairResults

if TYPE_CHECKING:
    import numpy as np

RESTORED = PairResults("MSLFusion.Restored", "restore", _("Restoration"))
SUPER_RESOLVED = "super_resolved"


@dataclass(frozen=True, eq=False)
class Volumes:
    """What the worker gave. images: (z, y, x) by name, see recon.restore.NAMES; grids: where each lies; told: the
    header of the answer."""

    images: dict[str, "np.ndarray"]
    grids: dict[str, dict[str, Any]]
    told: dict[str, Any]


def show_restored(volumes: Volumes, target: Any, auxiliary: Any, settings: dict[str, Any]) -> None:
    """Put the volumes into the scene, in place of those made of the same pair; others of the pair are removed.

    target: None for measured data.
    """
    from MSLFusionLib.recon.geometry import VolumeGeometry
    from MSLFusionLib.scene import hierarchy
    from MSLFusionLib.scene.volumes import node_from_image, update_node

    before = RESTORED.of(target, auxiliary)
    for name in set(before) - set(volumes.images):
        hierarchy.remove_node(slicer.mrmlScene, before.pop(name))
    nodes = []
    for name, array in volumes.images.items():
        image = VolumeGeometry.from_dict(volumes.grids[name]).image(array)
        node = before.get(name)
        if node is None:
            node = node_from_image(slicer.mrmlScene, image, title(name))
            _show_like(node, target if name != "auxiliary" else auxiliary, image)
            RESTORED.add(node, name, target, auxiliary)
        else:
            node.SetAndObserveTransformNodeID(None)  # results lie in the world
            update_node(node, image)
        nodes.append(node)
    folder = RESTORED.place(target, auxiliary, nodes)
    kept = ("model", "contrasts", "scale", "achieved", "report", "registration", "device_name", "warnings")
    told = {key: volumes.told.get(key) for key in kept} | settings
    told["time"] = datetime.now().astimezone().isoformat(timespec="seconds")
    hierarchy.describe_run(slicer.mrmlScene, folder, told)


def title(name: str) -> str:
    """What a result is called."""
    titles = {
        SUPER_RESOLVED: _("Super-resolved"),
        "restored": _("Restored (coarse)"),
        "bicubic": _("Zero-filled, bicubic"),
        "zero_filled": _("Zero-filled (coarse)"),
        "total_variation": _("Total variation (coarse)"),
        "total_variation_bicubic": _("Total variation, bicubic"),
        "auxiliary": _("Auxiliary on target"),
    }
    return titles.get(name, name)


def _show_like(node: Any, shown: Any, image: Any) -> None:
    """The results have the target's own values: they are shown as it is."""
    from MSLFusionLib.scene.colors import Display, show_as

    show_as(node, Display.MR, image)
    display = None if shown is None else shown.GetDisplayNode()
    if display is not None and display.GetWindow() > 0:
        node.GetDisplayNode().SetWindowLevelMinMax(display.GetWindowLevelMin(), display.GetWindowLevelMax())
