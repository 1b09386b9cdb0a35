"""Sample data: a generated head, and a patient of RIRE to be downloaded.

Slicer's start-up imports this file: nothing heavy at file scope.
"""

import os
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

if TYPE_CHECKING:
    import SimpleITK as sitk

CATEGORY = "MSL Fusion"
HEAD = {
    "seed": 7,
    "size": (192, 192, 96),
    "spacing_mm": (1.2, 1.2, 2.0),
    "tumour": True,
    "misalign_mm": 9.0,
    "misalign_deg": 7.0,
    "moving_size": (176, 176, 96),
    "moving_spacing_mm": (1.3, 1.3, 2.2),
}
"""What the worker's `phantom` is asked for: a whole head, and a T1 whose patient has moved since."""
RIRE_LICENCE = "RIRE training_001: Retrospective Image Registration Evaluation project, CC BY 3.0 US"
_STORES = (
    "https://s3.amazonaws.com/simpleitk/public/notebooks/SHA512/{digest}",
    "https://data.kitware.com/api/v1/file/hashsum/sha512/{digest}/download",
)
"""Where the notebooks of SimpleITK keep their data, by digest."""


@dataclass(frozen=True)
class RemoteFile:
    """A file to be downloaded, known by its SHA-512."""

    name: str
    digest: str

    def addresses(self) -> list[str]:
        """Where it can be had, in the order in which to try."""
        return [store.format(digest=self.digest) for store in _STORES]


RIRE = {
    "ct": RemoteFile(
        "training_001_ct.mha",
        "1b950bc42fddfcefc76b9203d5dd6c45960c4fa8dcb69b839d3d083270d3d4c9"
        "a9d378de3d3f914e432dc18fb44c9b9770d4db5580a70265f3e24e6cdb83015d",
    ),
    "mr": RemoteFile(
        "training_001_mr_T1.mha",
        "3d15477962fef5851207964c381ffe77c586a6f70f2a373ecd3b6b4dc50d51dc"
        "6cd893eb1bedabcd382a96f0dafac893ae9e5a7c2b7333f9ff3f0c6b7016c7bc",
    ),
}
Images = dict[str, "sitk.Image"]
"""A CT and an MR: "ct" and "mr"."""


def head_names() -> dict[str, str]:
    """What the nodes of the generated head are called."""
    return {"ct": _("Generated head CT"), "mr": _("Generated head T1")}


def rire_names() -> dict[str, str]:
    """What the nodes of the RIRE patient are called."""
    return {"ct": _("RIRE 001 CT"), "mr": _("RIRE 001 T1")}


def register(icons: str) -> None:
    """Add the samples to Slicer's module Sample Data; icons: the folder of their pictures."""
    from SampleData import SampleDataLogic

    add = SampleDataLogic.registerCustomSampleDataSource
    add(
        category=CATEGORY,
        sampleName="Generated head",
        uris=["mslfusion:generated-head"],  # made, not downloaded; Sample Data wants an address for everything
        fileNames=["MSLFusion-generated-head"],
        nodeNames=[head_names()["ct"]],
        customDownloader=lambda _source: load_head(),
        thumbnailFileName=os.path.join(icons, "SampleGeneratedHead.png"),
    )
    add(
        category=CATEGORY,
        sampleName="RIRE training_001",
        uris=[file.addresses()[0] for file in RIRE.values()],
        fileNames=[file.name for file in RIRE.values()],
        nodeNames=list(rire_names().values()),
        checksums=[f"SHA512:{file.digest}" for file in RIRE.values()],
        thumbnailFileName=os.path.join(icons, "SampleRire.png"),
    )


def load_head() -> list[Any]:
    """The generated head, asked for in the module Sample Data.

    With a window our module is opened and makes the head in its worker, with progress and Cancel: no nodes yet (Sample
    Data does not look at them). Without one it is made here and now; returns the nodes.
    """
    if slicer.util.mainWindow() is not None:
        slicer.util.selectModule("MSLFusion")
        data = slicer.util.getModuleWidget("MSLFusion").panel.data
        if not data.makes_head():
            data.load_head()
        return []
    from MSLFusionLib.phantom import generate_head

    wanted = {key.removesuffix("_mm") if "spacing" in key else key: value for key, value in HEAD.items()}
    head = generate_head(**wanted)
    return list(add_to_scene({"ct": head.ct, "mr": head.moving}, head_names()).values())


def head_steps() -> Generator[Any, Any, Images]:
    """Steps of a task: the generated head, by the worker."""
    from MSLFusionLib.recon.geometry import VolumeGeometry
    from MSLFusionPanel.task import ask

    message = yield ask("phantom", **HEAD)
    volumes = message.header["volumes"]
    return {name: VolumeGeometry.from_dict(volumes[name]).image(message.arrays[name]) for name in ("ct", "mr")}


def rire_steps(folder: str, progress: Callable[[int, int], None]) -> Generator[Any, Any, Images]:
    """Steps of a task: the RIRE patient from `folder`, downloaded into it where it is not there yet.

    progress: called with bytes done and bytes in total, file by file.
    """
    from pathlib import Path

    from MSLFusionLib.io.volumes import read_volume
    from MSLFusionPanel.download import download
    from MSLFusionPanel.task import later

    images = {}
    for role, file in RIRE.items():
        path = Path(folder) / file.name
        yield from download(file.addresses(), file.digest, path, progress)
        yield later()
        images[role] = read_volume(path, role.upper())
    return images


def add_to_scene(images: Images, names: dict[str, str], description: str = "") -> dict[str, Any]:
    """Nodes of a CT and an MR with window and level that suit them."""
    from MSLFusionLib.scene.colors import Display, show_as
    from MSLFusionLib.scene.volumes import node_from_image

    nodes = {}
    for role, display in (("ct", Display.CT), ("mr", Display.MR)):
        nodes[role] = node_from_image(slicer.mrmlScene, images[role], names[role])
        nodes[role].SetDescription(description)
        show_as(nodes[role], display, images[role])
    return nodes
