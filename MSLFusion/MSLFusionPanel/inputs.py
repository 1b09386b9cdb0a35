"""From the parameters and the scene to what the worker is asked."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from MSLFusionLib.client import Volume
from MSLFusionPanel.chosenfiles import file_state, raw_request
from MSLFusionPanel.methodparameters import Method, TargetSource
from MSLFusionPanel.parameters import Modalities, SensorSource

if TYPE_CHECKING:
    from MSLFusionPanel.parameters import MSLFusionParameterNode, SensorParameters

FIXED_ROLE = "MSLFusion.Fixed"
MOVING_ROLE = "MSLFusion.Moving"
"""Node references on the resampled MR to the volumes it was made from."""


@dataclass(frozen=True)
class Inputs:
    """What a reconstruction needs. `reference` is the node on whose grid the results lie (None: that of measured
    data). sensors: a sensors file. raw: the arguments that name a sinogram and k-space, see client.Client.reconstruct.
    """

    ct: Any
    mr: Any
    plan: dict[str, Any] | None
    sensors: str | None
    modalities: tuple[str, ...]
    model: str
    model_folder: str
    device: str
    consistency: bool = True
    raw: dict[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> list[str]:
        """The files with measured data; none when the scanners are simulated."""
        return [path for path in (self.sensors, self.raw.get("sinogram"), self.raw.get("kspace")) if path]

    @property
    def reference(self) -> Any:
        """The volume node that gives the grid of the results."""
        return self.ct if self.ct is not None else self.mr

    def key(self) -> tuple[Any, ...]:
        """Equal for inputs that give the same session: a change of any voxel, transform or setting changes it."""
        plan = None if self.plan is None else tuple(sorted(self.plan.items()))
        return (
            volume_state(self.ct),
            volume_state(self.mr),
            plan,
            tuple(map(file_state, self.files)),
            tuple(sorted((key, str(value)) for key, value in self.raw.items())),
            self.modalities,
            self.model,
            self.model_folder,
            self.device,
            self.consistency,
        )


def collect(parameters: "MSLFusionParameterNode") -> Inputs:
    """The inputs as chosen; whether they make sense is what the sections check."""
    sensors = parameters.sensors
    model = (parameters.model.name, parameters.model.folder, parameters.model.device, parameters.output.consistency)
    if sensors.source is SensorSource.FILE:
        return Inputs(None, None, None, sensors.file, sensors.modalities.names(), *model)
    if sensors.source is SensorSource.RAW:
        given = {"ct": sensors.sinogram, "mr": sensors.kspace}
        used = tuple(name for name in sensors.modalities.names() if given[name])
        raw = raw_request(sensors) | {"register": sensors.register}
        return Inputs(None, None, None, None, used, *model, raw)
    ct, mr = parameters.data.ct, mr_on_grid(parameters)
    return Inputs(ct, mr, plan(sensors), None, sensors.modalities.names(), *model)


def plan(sensors: "SensorParameters") -> dict[str, Any]:
    """The simulated sampling, as recon.simulate.SamplingPlan.from_dict takes it."""
    return {
        "views": sensors.views,
        "scan": sensors.scan.value,
        "acceleration": sensors.acceleration,
        "mask": sensors.mask.value,
        "photons": sensors.photons if sensors.ctNoise else None,
        "kspace_sigma": sensors.kspaceNoise if sensors.mrNoise else 0.0,
        "seed": sensors.seed,
    }


def mr_on_grid(parameters: "MSLFusionParameterNode") -> Any:
    """The MR volume that lies on the CT's grid: the coregistered one where it belongs to the chosen pair, else the
    chosen MR itself when it is on the CT's grid already or there is no CT; None when it has to be coregistered."""
    ct, mr = parameters.data.ct, parameters.data.mr
    if mr is None:
        return None
    aligned = parameters.coregister.aligned
    if aligned is not None and ct is not None and made_from(aligned, ct, mr) and same_grid(aligned, ct):
        return aligned
    return mr if ct is None or same_grid(mr, ct) else None


def needs_ct(parameters: "MSLFusionParameterNode") -> bool:
    """Whether the method cannot do without the CT (fusion: the first volume, CMF-Net: the target)."""
    if parameters.choice.method is not Method.MSL:
        return parameters.choice.method is Method.FUSION or parameters.restore.source is TargetSource.VOLUME
    return parameters.sensors.modalities is not Modalities.MR


def needs_mr(parameters: "MSLFusionParameterNode") -> bool:
    """Whether the method cannot do without the MR (fusion: the second volume, CMF-Net: the auxiliary)."""
    if parameters.choice.method is not Method.MSL:
        return True
    return parameters.sensors.modalities is not Modalities.CT


def made_from(aligned: Any, ct: Any, mr: Any) -> bool:
    """Whether `aligned` may stand for `mr` on the grid of `ct`; a volume that the user chose names no origin."""
    fixed, moving = aligned.GetNodeReferenceID(FIXED_ROLE), aligned.GetNodeReferenceID(MOVING_ROLE)
    return (fixed is None or fixed == ct.GetID()) and (moving is None or moving == mr.GetID())


def same_grid(a: Any, b: Any) -> bool:
    """Whether two volume nodes have one size, one geometry and one parent transform."""
    import numpy as np
    import vtk

    if a is b:
        return True
    if a.GetImageData() is None or b.GetImageData() is None:
        return False
    if a.GetImageData().GetDimensions() != b.GetImageData().GetDimensions():
        return False
    if a.GetTransformNodeID() != b.GetTransformNodeID():
        return False
    corners = []
    for node in (a, b):
        matrix = vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(matrix)
        corners.append([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])
    return bool(np.allclose(*corners, atol=1e-4))


def volume_from_node(node: Any) -> Volume:
    """A volume node as it goes to the worker: float32, in LPS, as it appears in the world."""
    import SimpleITK as sitk

    from MSLFusionLib.scene.volumes import image_from_node

    image = image_from_node(node)
    return Volume(sitk.GetArrayFromImage(image), image.GetSpacing(), image.GetOrigin(), image.GetDirection())


def volume_state(node: Any) -> tuple[Any, ...] | None:
    """Changes whenever the voxels or the place of a volume node do; costs no look at voxels."""
    if node is None:
        return None
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    data, parent = node.GetImageData(), node.GetParentTransformNode()
    return (
        node.GetID(),
        0 if data is None else data.GetMTime(),
        tuple(matrix.GetElement(i, j) for i in range(3) for j in range(4)),
        None if parent is None else (parent.GetID(), parent.GetTransformToWorldMTime()),
    )
