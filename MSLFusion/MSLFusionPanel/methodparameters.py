"""Which method the panel is for, and what is chosen for fusion; the other packs are in parameters.

Enumerations are stored by name: never rename a member.
"""

from enum import Enum

from slicer import vtkMRMLTableNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import parameterPack


class Method(Enum):
    """What the panel computes; values as in MSLFusionLib.methods, of fusion that of the task."""

    MSL = "msl"
    CMF_NET = "cmf-net"
    FUSION = "fuse"

    def label(self) -> str:
        """What the selector shows."""
        return {
            Method.MSL: _("MSL: joint CT and MR reconstruction"),
            Method.CMF_NET: _("CMF-Net: MR super-resolution with a second contrast"),
            Method.FUSION: _("Fusion of two volumes"),
        }[self]


class Kind(Enum):
    """What a volume to be fused is; values as the worker knows them."""

    AUTO = "auto"
    CT = "ct"
    MR = "mr"
    PET = "pet"

    def label(self) -> str:
        """What the selector shows."""
        return _("auto") if self is Kind.AUTO else self.value.upper()


@parameterPack
class ChoiceParameters:
    """Above all sections."""

    method: Method = Method.MSL


@parameterPack
class FusionParameters:
    """Of Method.FUSION. method: its name; settings: those that were changed, JSON, by method and name; model: of a
    network, empty for the installed one; shown: the method whose result is shown."""

    method: str = "laplacian"
    settings: str = "{}"
    model: str = ""
    firstIs: Kind = Kind.AUTO
    secondIs: Kind = Kind.AUTO
    slicewise: bool = False
    measure: bool = True
    shown: str = ""
    table: vtkMRMLTableNode


class TargetSource(Enum):
    """Where the target of CMF-Net comes from."""

    VOLUME = "volume"
    KSPACE = "kspace"

    def label(self) -> str:
        """What the selector shows."""
        return _("Simulate from the target volume") if self is TargetSource.VOLUME else _("K-space file")
