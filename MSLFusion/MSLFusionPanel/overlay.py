"""The lambda map over the slices, in its own colours."""

import time
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from MSLFusionLib.errors import InputError
from MSLFusionPanel import foreground, hidden, slices
from MSLFusionPanel.lambdamap import lambda_plane

if TYPE_CHECKING:
    from MSLFusionLib.recon.geometry import VolumeGeometry
    from MSLFusionPanel.panel import Panel

ROLE_ATTRIBUTE, ROLE = "MSLFusion.Role", "LambdaMap"
_AT_ONCE_S = 0.05


class Overlay:
    """A scalar volume "Lambda map" as foreground of the views that show CT, MR or hybrid.

    The node knows by itself what it is and what was in the foreground before, so that a saved scene can go on.
    """

    def __init__(self, panel: "Panel") -> None:
        self._panel = panel
        self._key: tuple[Any, ...] | None = None
        self._whole: Any = None
        self._planes: dict[tuple[int, int], Any] = {}
        self._covered: list[str] | None = None

    @staticmethod
    def node() -> Any:
        """The map's node, None when there is none."""
        scene, kind = slicer.mrmlScene, "vtkMRMLScalarVolumeNode"
        nodes = (scene.GetNthNodeByClass(i, kind) for i in range(scene.GetNumberOfNodesByClass(kind)))
        return next((node for node in nodes if node.GetAttribute(ROLE_ATTRIBUTE) == ROLE), None)

    def forget(self) -> None:
        """The node is gone, or another one."""
        self._key = self._whole = self._covered = None
        self._planes = {}

    def tick(self, state: Any, grid: "VolumeGeometry | None") -> bool:
        """Show or hide the map, and the slices in view that are behind; True when some are left for the next time."""
        if grid is None or not self._panel.parameters.lam.overlay:
            self.hide()
            return False
        node = self._shown_on(grid)
        self._follow_views(node)
        began = time.monotonic()
        for view in slices.views():
            plane = view.plane(node) if view.shows(node) else None
            if plane is None or self._planes.get(plane, self._whole) == state:
                continue
            if time.monotonic() - began > _AT_ONCE_S:
                return True
            try:
                values = lambda_plane(self._panel.parameters, grid, *plane)
            except InputError:  # shown where lambda is chosen
                return False
            slices.write_plane(node, *plane, values)
            self._planes[plane] = state
        return False

    def behind(self, state: Any) -> bool:
        """Whether the whole map has to be made again."""
        return self._panel.parameters.lam.overlay and self._key is not None and self._whole != state

    def write(self, state: Any, lam: Any) -> None:
        """Put in the whole map, a number or an array."""
        node = self.node()
        if node is None or (not isinstance(lam, float) and lam.shape != slices.shape_of(node)):
            return
        slices.write_volume(node, lam)
        self._whole, self._planes = state, {}

    def hide(self) -> None:
        """Take the map out of the views and the scene; what was in the foreground before comes back."""
        node = self.node()
        if node is not None:
            foreground.take_away(node)
            hidden.remove(node)
        self.forget()

    def _shown_on(self, grid: "VolumeGeometry") -> Any:
        """The node, made where there is none on this grid."""
        from MSLFusionLib.scene.colors import Display, add_lambda_legend, show_as
        from MSLFusionLib.scene.volumes import geometry_from_node, node_from_image, update_node

        node = self.node()
        key = (None if node is None else node.GetID(), grid)
        if node is not None and key == self._key:
            return node
        import numpy as np

        from MSLFusionLib.recon.geometry import VolumeGeometry

        empty = None
        if node is None or not VolumeGeometry.from_dict(geometry_from_node(node)).same_as(grid):
            empty = grid.image(np.zeros(grid.shape, np.float32))
        if node is None:
            node = node_from_image(slicer.mrmlScene, empty, _("Lambda map"))
            node.SetName(_("Lambda map"))  # also the next time
            node.SetAttribute(ROLE_ATTRIBUTE, ROLE)
        elif empty is not None:
            update_node(node, empty)
        show_as(node, Display.LAMBDA)
        add_lambda_legend(node)
        self.forget()
        self._key = (node.GetID(), grid)
        return node

    def _follow_views(self, node: Any) -> None:
        parameters = self._panel.parameters
        below = (parameters.data.ct, parameters.data.mr, parameters.coregister.aligned, parameters.output.hybrid)
        wanted = {volume.GetID() for volume in below if volume is not None}
        covered = foreground.follow(node, wanted, parameters.lam.overlayOpacity)
        if covered != self._covered:
            self._covered = covered
            self._update_legend(node)

    @staticmethod
    def _update_legend(node: Any) -> None:
        """Views look only at a legend that changes whether it is to be seen, not at their layers set by a program."""
        from MSLFusionLib.scene.colors import lambda_legend

        legend = lambda_legend(node)
        if legend is not None:
            legend.Modified()
