"""Display: window and level per kind of volume, and the colours of lambda."""

from enum import Enum
from typing import Any

import numpy as np
import SimpleITK as sitk

from MSLFusionLib.scene.bootstrap import module_logic

LAMBDA_COLORS_NAME = "MSLFusion lambda"
_COLORS = 256
# From CT (blue) over even (near white) to MR (orange): the two ends differ for colour-blind eyes too.
_CONTROL_POINTS = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
_CONTROL_RGB = np.array(
    [[0.10, 0.30, 0.60], [0.45, 0.65, 0.85], [0.95, 0.95, 0.93], [0.98, 0.68, 0.38], [0.80, 0.33, 0.02]]
)
TRUST_COLORS_NAME = "MSLFusion trust"
# Dark violet over red to bright yellow: brightness alone tells the order, too.
_TRUST_RGB = np.array(
    [[0.05, 0.02, 0.15], [0.40, 0.08, 0.43], [0.78, 0.22, 0.30], [0.97, 0.55, 0.15], [0.99, 0.95, 0.60]]
)
_LEAST_TRUST = 0.02
"""A map whose largest value is less than this has nothing to show: noise must not look like much."""
_TRANSPARENT_TRUST = 0.15
"""Of the brightest: what is less lets other volumes be seen."""
# Parts of a view: beside a head, not over it, also where three views share a small screen.
_LEGEND_SIZE, _LEGEND_FONT_SIZE = (0.12, 0.35), 10
_SAMPLED_VOXELS = 200_000


class Display(Enum):
    """How a volume is shown."""

    CT = "ct"
    """HU: window 350 at 40, soft tissue of the head with the skull saturated."""
    MR = "mr"
    """Any scale: from the darkest to the 99.5th percentile."""
    UNIT = "unit"
    """Hybrids and network images: [0, 1] as it is, so that a sweep can be compared by eye."""
    LAMBDA = "lambda"
    """A lambda map: [0, 1] in the colours of lambda."""


def show_as(node: Any, display: Display, image: sitk.Image | None = None) -> None:
    """Set window, level and colours of the volume `node`; `image` (its voxels) is needed for Display.MR."""
    node.CreateDefaultDisplayNodes()
    display_node = node.GetDisplayNode()
    low, high = 0.0, 1.0
    if display is Display.CT:
        low, high = -135.0, 215.0
    elif display is Display.MR:
        if image is None:
            raise ValueError("Display.MR needs the image to find its grey values")
        low, high = _grey_range(image)
    display_node.AutoWindowLevelOff()
    display_node.SetWindowLevelMinMax(low, high)
    scene = node.GetScene()
    if display is Display.LAMBDA:
        display_node.SetAndObserveColorNodeID(lambda_colors(scene).GetID())
        display_node.SetInterpolate(False)
    else:
        display_node.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")


def show_as_trust(node: Any, array: np.ndarray) -> None:
    """A trust map: from little, which is transparent over other volumes, to what 99.5 % of the map stay below."""
    node.CreateDefaultDisplayNodes()
    display_node = node.GetDisplayNode()
    values = array.ravel()[:: max(1, array.size // _SAMPLED_VOXELS)]
    values = values[values > 0]
    high = float(np.percentile(values, 99.5)) if values.size else 0.0
    display_node.AutoWindowLevelOff()
    high = max(high, _LEAST_TRUST)
    display_node.SetWindowLevelMinMax(0.0, high)
    display_node.SetThreshold(_TRANSPARENT_TRUST * high, float(max(array.max(), high)))
    display_node.ApplyThresholdOn()
    display_node.SetAndObserveColorNodeID(trust_colors(node.GetScene()).GetID())


def trust_colors(scene: Any) -> Any:
    """The scene's colour table of trust maps (256 entries), made when it is not there."""
    said = "error to expect, or residual, in units of the image: from nothing to much"
    return _table(scene, TRUST_COLORS_NAME, said, _TRUST_RGB)


def lambda_rgb(lam: float) -> tuple[float, float, float]:
    """The colour of a lambda in [0, 1]: blue is CT, orange is MR."""
    return _between(lam, _CONTROL_RGB)


def lambda_colors(scene: Any) -> Any:
    """The scene's colour table of lambda (256 entries named by their lambda), made when it is not there."""
    return _table(scene, LAMBDA_COLORS_NAME, "lambda of a hybrid volume: 0 is CT, 1 is MRI", _CONTROL_RGB)


def _table(scene: Any, name: str, description: str, control: np.ndarray) -> Any:
    """The scene's colour table of this name, made when it is not there: from 0 to 1 through the colours `control`."""
    found = scene.GetFirstNode(name, "vtkMRMLColorTableNode")
    if found is not None:
        return found
    table = scene.CreateNodeByClass("vtkMRMLColorTableNode")
    table.UnRegister(None)
    table.SetName(name)
    table.SetTypeToUser()
    table.SetAttribute("Category", "MSL Fusion")
    table.SetDescription(description)
    table.SetNumberOfColors(_COLORS)
    for entry in range(_COLORS):
        share = entry / (_COLORS - 1)
        table.SetColor(entry, f"{share:.3f}", *_between(share, control), 1.0)
    return scene.AddNode(table)


def _between(share: float, control: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = (float(np.interp(share, _CONTROL_POINTS, control[:, i])) for i in range(3))
    return red, green, blue


def add_lambda_legend(node: Any) -> Any:
    """Show a colour legend (CT 0 ... 1 MR) for the lambda map `node` in the views; returns its node."""
    legend = module_logic(node.GetScene(), "Colors").AddDefaultColorLegendDisplayNode(node.GetDisplayNode())
    legend.SetTitleText("lambda")
    legend.SetLabelFormat("%.2f")
    legend.SetNumberOfLabels(5)
    legend.SetSize(*_LEGEND_SIZE)
    legend.GetTitleTextProperty().SetFontSize(_LEGEND_FONT_SIZE)
    return legend


def lambda_legend(node: Any) -> Any:
    """The colour legend of the lambda map `node`, None when there is none."""
    displays = (node.GetNthDisplayNode(i) for i in range(node.GetNumberOfDisplayNodes()))
    return next((one for one in displays if one is not None and one.IsA("vtkMRMLColorLegendDisplayNode")), None)


def _grey_range(image: sitk.Image) -> tuple[float, float]:
    """Darkest value and 99.5th percentile of a sample of the voxels, never an empty range."""
    values = sitk.GetArrayViewFromImage(image).ravel()
    values = values[:: max(1, values.size // _SAMPLED_VOXELS)]
    low, high = float(values.min()), float(np.percentile(values, 99.5))
    return low, high if high > low else low + 1.0
