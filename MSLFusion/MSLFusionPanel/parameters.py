"""What the user chose, kept in the scene: one parameter pack per section of the panel.

Enumerations are stored by name: never rename a member. File and folder names are kept as text, since an empty
path would turn into "." in Slicer's path widgets. Secrets (a remote worker's token) are not kept at all.
"""

from enum import Enum
from typing import Annotated

from slicer import (
    vtkMRMLLinearTransformNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLTableNode,
)
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper, parameterPack

from MSLFusionPanel.methodparameters import ChoiceParameters, FusionParameters, TargetSource


class Alignment(Enum):
    """How the MR comes onto the CT."""

    SITK_RIGID = "rigid"
    SITK_AFFINE = "affine"
    BRAINS_RIGID = "brains rigid"
    BRAINS_AFFINE = "brains affine"
    ELASTIX = "elastix"
    ALIGNED = "aligned"

    def label(self) -> str:
        """What the selector shows."""
        return {
            Alignment.SITK_RIGID: _("Rigid (SimpleITK)"),
            Alignment.SITK_AFFINE: _("Affine (SimpleITK)"),
            Alignment.BRAINS_RIGID: _("Rigid (General Registration, BRAINS)"),
            Alignment.BRAINS_AFFINE: _("Affine (General Registration, BRAINS)"),
            Alignment.ELASTIX: _("Rigid (Elastix)"),
            Alignment.ALIGNED: _("Already aligned: only resample"),
        }[self]


class SensorSource(Enum):
    """Where the sensor data come from."""

    SIMULATE = "simulate"
    FILE = "file"
    RAW = "raw"

    def label(self) -> str:
        """What the selector shows."""
        return {
            SensorSource.SIMULATE: _("Simulate from the volumes"),
            SensorSource.FILE: _("Sensors file"),
            SensorSource.RAW: _("Sinogram and k-space files"),
        }[self]


class Coils(Enum):
    """How the coils of a measured MR are combined; values as in recon.acquired."""

    RSS = "rss"
    ESPIRIT = "espirit"
    SENSE_TV = "sense-tv"

    def label(self) -> str:
        """What the selector shows."""
        return {
            Coils.RSS: _("Root sum of squares"),
            Coils.ESPIRIT: _("ESPIRiT coil maps"),
            Coils.SENSE_TV: _("SENSE with total variation"),
        }[self]


class Scan(Enum):
    """The arc of the CT source; values as in recon.simulate.SamplingPlan."""

    FULL = "full"
    SHORT = "short"

    def label(self) -> str:
        """What the selector shows."""
        return _("Full turn") if self is Scan.FULL else _("Short scan")


class Mask(Enum):
    """Which columns of k-space are measured; values as in physics.masks."""

    RANDOM = "random"
    EQUISPACED = "equispaced"
    OFFICIAL = "official"

    def label(self) -> str:
        """What the selector shows."""
        return {
            Mask.RANDOM: _("Random columns"),
            Mask.EQUISPACED: _("Equally spaced columns"),
            Mask.OFFICIAL: _("As in the authors' code"),
        }[self]


class Modalities(Enum):
    """What the network may see."""

    BOTH = "both"
    CT = "ct"
    MR = "mr"

    def label(self) -> str:
        """What the selector shows."""
        return {
            Modalities.BOTH: _("CT and MR"),
            Modalities.CT: _("CT only (MR synthesised)"),
            Modalities.MR: _("MR only (CT synthesised)"),
        }[self]

    def names(self) -> tuple[str, ...]:
        """As the worker wants them."""
        return ("ct", "mr") if self is Modalities.BOTH else (self.value,)


class LambdaMode(Enum):
    """What says how CT and MR are mixed."""

    NUMBER = "number"
    PAINTED = "painted"
    VOLUME = "volume"

    def label(self) -> str:
        """What the selector shows."""
        return {
            LambdaMode.NUMBER: _("One lambda for all"),
            LambdaMode.PAINTED: _("Painted"),
            LambdaMode.VOLUME: _("Lambda volume"),
        }[self]


class Objective(Enum):
    """What a lambda map is looked for by; values as in recon.objectives."""

    MUTUAL_INFORMATION = "mutual-information"
    ENTROPY = "entropy"

    def label(self) -> str:
        """What the selector shows."""
        if self is Objective.MUTUAL_INFORMATION:
            return _("Mutual information with CT and MR")
        return _("Entropy of the hybrid")


@parameterPack
class DataParameters:
    """Section 1: the volumes; the MR may lie anywhere until it is coregistered."""

    ct: vtkMRMLScalarVolumeNode
    mr: vtkMRMLScalarVolumeNode


@parameterPack
class CoregisterParameters:
    """Section 2. transform: moves the MR onto the CT. aligned: the MR resampled on the CT's grid."""

    method: Alignment = Alignment.SITK_RIGID
    transform: vtkMRMLLinearTransformNode
    aligned: vtkMRMLScalarVolumeNode


@parameterPack
class SensorParameters:
    """Section 3. photons per detector bin without object; kspaceNoise: standard deviation in network units.

    Of raw files: coils, what to select of an ISMRMRD file, whether to register the MR to the CT.
    """

    source: SensorSource = SensorSource.SIMULATE
    file: str = ""
    sinogram: str = ""
    kspace: str = ""
    coils: Coils = Coils.RSS
    select: str = ""
    register: bool = True
    views: Annotated[int, WithinRange(1, 2048)] = 64
    scan: Scan = Scan.FULL
    acceleration: Annotated[float, WithinRange(1.0, 64.0)] = 4.0
    mask: Mask = Mask.RANDOM
    ctNoise: bool = False
    photons: Annotated[float, WithinRange(10.0, 1e9)] = 100000.0
    mrNoise: bool = False
    kspaceNoise: Annotated[float, WithinRange(0.0, 1.0)] = 0.02
    seed: Annotated[int, WithinRange(0, 2**31 - 1)] = 0
    modalities: Modalities = Modalities.BOTH


@parameterPack
class ModelParameters:
    """Section 4. name: as `mslfusion models list` has it; folder: more models; device: as the worker names it."""

    name: str = ""
    folder: str = ""
    device: str = "auto"


@parameterPack
class LambdaParameters:
    """Section 5. value: of NUMBER; background: where nothing is painted. objective, alpha (weight of total variation),
    steps (evaluations for a slice), oneSlice (only the one in view): of the search for a map."""

    mode: LambdaMode = LambdaMode.NUMBER
    value: Annotated[float, WithinRange(0.0, 1.0)] = 0.5
    segmentation: vtkMRMLSegmentationNode
    background: Annotated[float, WithinRange(0.0, 1.0)] = 0.0
    volume: vtkMRMLScalarVolumeNode
    overlay: bool = False
    overlayOpacity: Annotated[float, WithinRange(0.0, 1.0)] = 0.4
    objective: Objective = Objective.MUTUAL_INFORMATION
    alpha: Annotated[float, WithinRange(0.0, 1.0)] = 0.001
    steps: Annotated[int, WithinRange(1, 1000)] = 60
    oneSlice: bool = False


@parameterPack
class OutputParameters:
    """Sections 6 to 8."""

    hybrid: vtkMRMLScalarVolumeNode
    sweep: bool = False
    sweepCount: Annotated[int, WithinRange(2, 101)] = 5
    metrics: bool = True
    consistency: bool = True
    trust: bool = False
    trustPasses: Annotated[int, WithinRange(2, 100)] = 4
    live: bool = True
    table: vtkMRMLTableNode


@parameterPack
class RestoreParameters:
    """Of Method.CMF_NET. kspaceNoise: standard deviation, where the target is about 1 at its brightest. register: an
    auxiliary to a measured target. model: empty for the first one. compare: also with total variation. shown: kind of
    the result that the views show."""

    source: TargetSource = TargetSource.VOLUME
    kspace: str = ""
    coils: Coils = Coils.RSS
    register: bool = False
    acceleration: Annotated[float, WithinRange(1.0, 64.0)] = 4.0
    mask: Mask = Mask.RANDOM
    kspaceNoise: Annotated[float, WithinRange(0.0, 1.0)] = 0.0
    seed: Annotated[int, WithinRange(0, 2**31 - 1)] = 0
    model: str = ""
    consistency: bool = True
    compare: bool = False
    shown: str = ""
    table: vtkMRMLTableNode


@parameterNodeWrapper
class MSLFusionParameterNode:
    """All of it, in the module's singleton parameter node."""

    data: DataParameters
    coregister: CoregisterParameters
    sensors: SensorParameters
    model: ModelParameters
    lam: LambdaParameters
    output: OutputParameters
    choice: ChoiceParameters
    fusion: FusionParameters
    restore: RestoreParameters


NODES = (
    ("data", "ct"),
    ("data", "mr"),
    ("coregister", "transform"),
    ("coregister", "aligned"),
    ("lam", "segmentation"),
    ("lam", "volume"),
    ("output", "hybrid"),
    ("output", "table"),
    ("fusion", "table"),
    ("restore", "table"),
)
"""All parameters that are nodes: pack and name."""
