"""A run's images against ground truth: rows of figures for each slice and for the volume.

One volume of a run is in memory at a time, beside the truth; the rest is done slice by slice. The truth is not
brought through the network's grid: what a field of view leaves out, or its pixels cannot show, counts as error.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from MSLFusionLib.errors import InputError
from MSLFusionLib.evaluation.figures import REGIONS, Comparison
from MSLFusionLib.evaluation.folders import RunFolder
from MSLFusionLib.io.volumes import read_volume
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.geometry import VolumeGeometry
from MSLFusionLib.recon.slices import NetworkSlices, VolumeOptions
from MSLFusionLib.registration import resample


@dataclass(frozen=True)
class Truth:
    """Ground truth on a run's grid, slice by slice.

    slices: turned to the network, see recon.slices. names: "ct" and "mr", those there are. key: of their content.
    numbers: of the slices that hold some body.
    """

    slices: NetworkSlices
    names: tuple[str, ...]
    key: str

    @property
    def numbers(self) -> np.ndarray:
        return self.slices.occupied

    def body(self, number: int) -> np.ndarray:
        """The body mask (rows, columns) of a slice."""
        return self.slices.grid.turned(self.slices.body)[number]

    def images(self, number: int) -> dict[str, np.ndarray]:
        """CT and MR (rows, columns) of a slice in [0, 1], on the volume's own pixels."""
        chosen = np.array([number])
        pairs = zip(self.names, self.slices.modalities, strict=True)
        return {name: np.clip(one.values(chosen)[0], 0.0, 1.0) for name, one in pairs}


@dataclass(frozen=True)
class Measured:
    """The figures of one run.

    slices: a row for each slice, image, target and region; volumes: the same without slices. Rows hold "run",
    "volume" (the key of its truth), "image", "lambda", "target", "region" and the figures; those of slices "slice".
    """

    run: RunFolder
    truth_key: str
    slices: list[dict[str, Any]]
    volumes: list[dict[str, Any]]


def truth_of(run: RunFolder, given: Mapping[str, Path | None], job: Job = NO_JOB) -> Truth:
    """The ground truth of a run: the volumes `given` by modality, else what its record names.

    Volumes on another grid than the run's images are resampled to it as their files place them. Raises InputError
    where there is none, or it does not overlap.
    """
    chosen = {name: path for name, path in given.items() if path is not None}
    files = run.truth_files(chosen) | chosen
    if not files:
        raise InputError(f"{run.folder} was made from measured data: give the ground truth with --ct, --mr or both.")
    grid = read_volume(run.images[0].path, "hybrid")
    volumes = []
    digest = hashlib.sha256()
    for name in ("ct", "mr"):
        if name not in files:
            continue
        image = read_volume(files[name], name.upper())
        if not VolumeGeometry.of(image).same_as(VolumeGeometry.of(grid)):
            image = resample(image, grid, must_overlap=True)
        digest.update(name.encode() + sitk.GetArrayViewFromImage(image).tobytes())
        volumes.append((name, image))
    scale = run.record.get("details", {}).get("reconstruction", {}).get("source", {}).get("mr_scale") or {}
    method = "minmax" if scale.get("method") == "minmax" else "percentile"
    # The grid of the network plays no part: its pixel is only asked for to know which way slices lie.
    options = VolumeOptions(pixel_mm=max(grid.GetSpacing()) * max(grid.GetSize()), mr_scaling=method)
    slices = NetworkSlices(volumes, options, job)
    if slices.grid.slice_axis != run.slice_axis:
        raise InputError(f"The ground truth's slices lie otherwise than those of {run.folder}.")
    return Truth(slices, tuple(name for name, _ in volumes), digest.hexdigest()[:16])


def measure(run: RunFolder, truth: Truth, job: Job = NO_JOB) -> Measured:
    """Compare all of a run's images with all truths that they have. Raises InputError for other grids, Cancelled."""
    numbers = truth.numbers
    jobs = [(image, [t for t in image.targets if t in truth.names]) for image in run.images]
    rows: list[dict[str, Any]] = []
    volumes: list[dict[str, Any]] = []
    total, done = len(numbers) * len(jobs), 0
    for image, targets in jobs:
        stored = read_volume(image.path, "hybrid")
        if not VolumeGeometry.of(stored).same_as(truth.slices.grid.volume):
            raise InputError(f"{image.path} is not on the grid of the other images of its run.")
        turned = truth.slices.grid.turned(sitk.GetArrayViewFromImage(stored))
        compared = {target: Comparison() for target in targets}
        about = {"run": run.name, "volume": truth.key, "image": image.name, "lambda": image.lam}
        for number in numbers.tolist():
            job.step("evaluate", done, total)
            shown, body = np.clip(turned[number], 0.0, 1.0), truth.body(number)
            images = truth.images(number)
            for target, comparison in compared.items():
                found = comparison.add(shown, images[target], body)
                rows += _rows(about | {"slice": number}, target, found)
            done += 1
        for target, comparison in compared.items():
            volumes += _rows(about, target, comparison.figures())
    job.step("evaluate", total, total)
    return Measured(run, truth.key, rows, volumes)


def _rows(
    about: Mapping[str, Any], target: str, found: Mapping[str, Mapping[str, Any]], regions: Sequence[str] = REGIONS
) -> list[dict[str, Any]]:
    return [{**about, "target": target, "region": region, **found[region]} for region in regions]
