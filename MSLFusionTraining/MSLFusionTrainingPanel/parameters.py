"""What the user chose, kept in the scene: one parameter pack per section of the panel.

Enumerations are stored by name: never rename a member. File and folder names are kept as text, since an empty path
would turn into "." in Slicer's path widgets. Pairs of volumes are node references of the parameter node, see pairs.py.
"""

from enum import Enum
from typing import Annotated

from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper, parameterPack


class DataSource(Enum):
    """Where the images to train on come from."""

    HEADS = "heads"
    FOLDER = "folder"
    TABLE = "table"
    SCENE = "scene"
    SET = "set"

    def label(self) -> str:
        """What the selector shows."""
        return {
            DataSource.HEADS: _("Generated heads"),
            DataSource.FOLDER: _("A folder of scans"),
            DataSource.TABLE: _("A table of scans (CSV)"),
            DataSource.SCENE: _("Volumes of this scene"),
            DataSource.SET: _("A prepared training set (.h5)"),
        }[self]

    @property
    def prepared_here(self) -> bool:
        """Whether scans are turned into a training set by the button Prepare."""
        return self in (DataSource.FOLDER, DataSource.TABLE, DataSource.SCENE)


class Scaling(Enum):
    """How MR and PET come to [0, 1]; values as in prepare.settings."""

    PERCENTILE = "percentile"
    MINMAX = "minmax"

    def label(self) -> str:
        """What the selector shows."""
        return _("Percentiles of the body") if self is Scaling.PERCENTILE else _("Smallest to largest")


@parameterPack
class DataParameters:
    """Section 1. modalities: names with blanks between. headWorkers: heads that are made at a time.

    pairs: rows of the table of volumes. pixel: mm.
    """

    source: DataSource = DataSource.HEADS
    modalities: str = "ct t1"
    headWorkers: Annotated[int, WithinRange(1, 256)] = 1
    folder: str = ""
    table: str = ""
    pairs: int = 1
    output: str = ""
    set: str = ""
    validation: Annotated[float, WithinRange(0.0, 0.9)] = 0.15
    test: Annotated[float, WithinRange(0.0, 0.9)] = 0.0
    splitSeed: Annotated[int, WithinRange(0, 2**31 - 1)] = 0
    register: bool = True
    mask: bool = True
    scaling: Scaling = Scaling.PERCENTILE
    size: Annotated[int, WithinRange(16, 4096)] = 384
    pixel: Annotated[float, WithinRange(0.05, 20.0)] = 0.6667
    leastBody: Annotated[float, WithinRange(0.0, 0.9)] = 0.03
    workers: Annotated[int, WithinRange(1, 256)] = 1


@parameterPack
class ConfigurationParameters:
    """Section 2. changes: what differs from the preset, as TOML. device: as the worker names it."""

    preset: str = "msl-lite"
    changes: str = ""
    device: str = "auto"


@parameterPack
class RunParameters:
    """Section 3. folder: of the run. model: the name that its model gets."""

    folder: str = ""
    model: str = ""


@parameterNodeWrapper
class MSLFusionTrainingParameterNode:
    """All of it, in the module's singleton parameter node."""

    data: DataParameters
    configuration: ConfigurationParameters
    run: RunParameters
