"""The two volumes that a method works on: what they are called, and which ones each method had last.

The fields of section 1 and 2 hold the pair of the chosen method. The pairs of the others are kept as node references
of the parameter node, so that they are saved, and forget what is removed.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import slicer
from slicer.i18n import tr as _

from MSLFusionPanel.methodparameters import Method

if TYPE_CHECKING:
    from MSLFusionPanel.parameters import MSLFusionParameterNode

_OWNER = "MSLFusion.PairOf"
"""Attribute of the parameter node: the method whose pair the fields hold."""
_KEPT = "MSLFusion.Kept"
_FIELDS = (("data", "ct"), ("data", "mr"), ("coregister", "transform"), ("coregister", "aligned"))


class Names(NamedTuple):
    """What the two are called in sentences, and in front of their fields; on_grid: the second resampled."""

    fixed: str
    moving: str
    fixed_field: str
    moving_field: str
    on_grid: str
    transform: str


def names(parameters: "MSLFusionParameterNode") -> Names:
    """In the words of the chosen method."""
    method = parameters.choice.method
    if method is Method.FUSION:
        return Names(
            _("first volume"), _("second volume"), _("First"), _("Second"), _("Second on first"), _("Second to first")
        )
    if method is Method.CMF_NET:
        return Names(
            _("target"), _("auxiliary"), _("Target"), _("Auxiliary"), _("Auxiliary on target"), _("Auxiliary to target")
        )
    return Names(_("CT"), _("MR"), _("CT"), _("MR"), _("MR on CT grid"), _("MR to CT"))


def exchange(parameters: "MSLFusionParameterNode") -> bool:
    """Let the fields hold the pair of the chosen method, when another one was chosen; says whether it was.

    Fusion takes over the pair of MSL where it has none of its own: the same CT and MR can be compared at once.
    """
    node = parameters.parameterNode
    before, now = node.GetAttribute(_OWNER) or Method.MSL.name, parameters.choice.method.name
    if before == now:
        return False
    node.SetAttribute(_OWNER, now)
    for pack, name in _FIELDS:
        chosen = getattr(getattr(parameters, pack), name)
        node.SetNodeReferenceID(_role(before, pack, name), None if chosen is None else chosen.GetID())
    source = now
    if now == Method.FUSION.name and not any(_kept(node, now, *field) for field in _FIELDS[:2]):
        source = Method.MSL.name
    for pack, name in _FIELDS:
        setattr(getattr(parameters, pack), name, _kept(node, source, pack, name))
    return True


def unplaced(parameters: "MSLFusionParameterNode") -> list[Any]:
    """What a registration made, where nobody has put it into a folder yet: it belongs into that of the first result."""
    from MSLFusionLib.scene import hierarchy

    coregister = parameters.coregister
    nodes = [node for node in (coregister.aligned, coregister.transform) if node is not None]
    return [node for node in nodes if not hierarchy.place_of(slicer.mrmlScene, node)]


def _role(method: str, pack: str, name: str) -> str:
    return f"{_KEPT}.{method}.{pack}.{name}"


def _kept(node: Any, method: str, pack: str, name: str) -> Any:
    return node.GetNodeReference(_role(method, pack, name))
