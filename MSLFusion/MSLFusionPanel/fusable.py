"""Whether a volume can be fused, as far as can be told before Apply; the worker's own words are the same."""

from typing import Any

from slicer.i18n import tr as _

from MSLFusionPanel.methodparameters import Kind
from MSLFusionPanel.voxels import Values

_UNDERSHOOT = 0.005
"""As in fusion.prepare: what interpolation may have pushed a PET's background below zero, of its largest value."""


def problem(node: Any, values: Values | None, kind: Kind) -> str:
    """Why a volume with voxels cannot be fused; empty when it can, or is not known well enough yet."""
    from MSLFusionLib.fusion.interface import SMALLEST

    if sorted(node.GetImageData().GetDimensions())[1] < SMALLEST:
        return _("This volume is too small to be fused: at least {n} x {n} voxels a slice are needed.").format(
            n=SMALLEST
        )
    if kind is Kind.PET and values is not None and values.low < -_UNDERSHOOT * max(values.high, 0.0):
        return _(
            "A PET has no negative values, but the lowest here is {low:.4g}: check the file, or say what it is beside."
        ).format(low=values.low)
    return ""
