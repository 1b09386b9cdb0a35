"""The volumes that a reconstruction fills slice by slice."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from torch import Tensor

from MSLFusionLib.errors import InputError, JobError
from MSLFusionLib.recon.lambdas import LambdaSpec
from MSLFusionLib.recon.sources import SliceSource, VolumeSource
from MSLFusionLib.recon.trust import on_grid

HYBRID, FBP, ZERO_FILLED, TRUTH_CT, TRUTH_MR = "hybrid", "fbp", "zero-filled", "truth-ct", "truth-mr"


@dataclass(frozen=True)
class OutputVolume:
    """One volume of a result on the CT's grid, float32 in [0, 1].

    kind: "hybrid", "fbp", "zero-filled", "truth-ct", "truth-mr", or one of recon.trust.KINDS. label: the lambda's for
    hybrids, else the kind.
    """

    kind: str
    label: str
    image: sitk.Image


class Outputs:
    """The volumes under construction: arrays on the CT's grid, background where nothing was reconstructed."""

    def __init__(
        self, source: SliceSource, specs: Sequence[LambdaSpec], sensor_images: bool, ground_truth: bool
    ) -> None:
        self._grid = source.grid
        self._labels: dict[tuple[str, int], str] = {(HYBRID, i): spec.label for i, spec in enumerate(specs)}
        scanners = source.scanners
        for wanted, kind, scanner in (
            (sensor_images, FBP, scanners.ct),
            (sensor_images, ZERO_FILLED, scanners.mr),
            (ground_truth, TRUTH_CT, scanners.ct),
            (ground_truth, TRUTH_MR, scanners.mr),
        ):
            if wanted and scanner is not None:
                self._labels[kind, 0] = kind
        if ground_truth and not isinstance(source, VolumeSource):
            raise InputError("A sensors file holds no ground truth.")
        try:
            self._arrays = {key: np.zeros(self._grid.volume.shape, np.float32) for key in self._labels}
        except MemoryError:
            raise JobError(f"{len(self._labels)} volumes of the CT's size do not fit the memory.") from None

    def put(self, key: tuple[str, int], numbers: np.ndarray, slices: np.ndarray) -> None:
        """Network slices (n, H, W) in [0, 1] into the volume `key`."""
        self._grid.turned(self._arrays[key])[numbers] = self._grid.from_network(slices)

    def put_images(self, images: tuple[Tensor | None, Tensor | None], numbers: np.ndarray) -> None:
        """Sensor images, where asked for."""
        for kind, image in zip((FBP, ZERO_FILLED), images, strict=True):
            if image is not None and (kind, 0) in self._arrays:
                self.put((kind, 0), numbers, image[:, 0].float().cpu().numpy())

    def put_truth(self, source: SliceSource, numbers: np.ndarray) -> None:
        """Ground truth, where asked for."""
        if (TRUTH_CT, 0) in self._arrays or (TRUTH_MR, 0) in self._arrays:
            for kind, slices in zip((TRUTH_CT, TRUTH_MR), source.truth(numbers), strict=True):
                if slices is not None:
                    self.put((kind, 0), numbers, slices)

    def put_maps(self, source: SliceSource, maps: Mapping[str, Tensor], numbers: np.ndarray) -> None:
        """Trust maps (n, 1, H, W) by kind, which begin to be kept here."""
        for kind, slices in maps.items():
            if (kind, 0) not in self._arrays:
                self._labels[kind, 0] = kind
                self._arrays[kind, 0] = np.zeros(self._grid.volume.shape, np.float32)
            block = on_grid(source, kind, numbers, slices[:, 0].float().cpu().numpy())
            self._grid.turned(self._arrays[kind, 0])[numbers] = block

    def volumes(self, sink: Callable[[OutputVolume], None] | None) -> list[OutputVolume]:
        """The finished volumes one after the other, each array given up as its image is made."""
        kept = []
        for key, label in self._labels.items():
            volume = OutputVolume(key[0], label, self._grid.volume.image(self._arrays.pop(key)))
            if sink is not None:
                sink(volume)
            else:
                kept.append(volume)
        return kept
