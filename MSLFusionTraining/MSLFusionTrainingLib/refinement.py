"""Training of the learned steps alone, on crops of slices that were measured and corrected once, before it begins.

What the steps see does not change while the rest of the network stays as it is. So `corrected_slices` slices are
drawn, measured, encoded and corrected once, and kept in one file in the folder of the run; every step of the training
then takes crops of them. The gradient does not reach through the last correction; whole slices (crop 0) do that.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from MSLFusionLib.io.atomic import atomic_path
from MSLFusionLib.nets.msl import MSL
from MSLFusionLib.nets.mslconfig import STRIDE
from MSLFusionLib.nets.refine import Refiner
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.unrolled import unrolled
from MSLFusionTrainingLib.augment import randomise
from MSLFusionTrainingLib.config import TrainConfig
from MSLFusionTrainingLib.data import Slices
from MSLFusionTrainingLib.draws import draw_slice, draw_step
from MSLFusionTrainingLib.losses import reconstruction_loss
from MSLFusionTrainingLib.sensors import SensorSimulator

NAME = "corrected.npy"
_PLANES = 8
"""Of each slice: CT and MR corrected, what that changed, the sensor images, the truths."""
_FIRST = -1_000_000_000
"""The iteration that the first corrected slice is drawn for: far from those of the training."""


@torch.no_grad()
def corrected_slices(
    config: TrainConfig, model: MSL, slices: Slices, simulator: SensorSimulator, folder: Path, job: Job = NO_JOB
) -> np.ndarray:
    """The file of corrected slices, (corrected_slices, 8, H, W) float16, memory-mapped; made where it is not there.

    A modality that a slice was not measured with has zeros for its change and sensor image. Raises Cancelled.
    """
    path = folder / NAME
    shape = (config.corrected_slices, _PLANES, config.size, config.size)
    if path.exists():
        kept = np.load(path, mmap_mode="r", allow_pickle=False)
        if kept.shape == shape:
            return np.asarray(kept)
    folder.mkdir(parents=True, exist_ok=True)
    was_training = model.training
    model.eval()
    with atomic_path(path) as temporary:
        out = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=shape)
        for number in range(config.corrected_slices):
            job.step("correct slices", number, config.corrected_slices)
            out[number] = _corrected(config, model, slices, simulator, number).cpu().numpy()
        out.flush()
        del out
    model.train(was_training)
    job.step("correct slices", config.corrected_slices, config.corrected_slices)
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def _corrected(config: TrainConfig, model: MSL, slices: Slices, simulator: SensorSimulator, number: int) -> Tensor:
    """One slice with its planes, (8, H, W)."""
    device = simulator.device
    drawn = draw_slice(config, draw_step(config, 0, STRIDE), _FIRST + number, 0, len(slices))
    generators = [torch.Generator(device).manual_seed(drawn.seed)]
    truths = slices.batch(torch.tensor([drawn.index]), device)
    truths = randomise(truths, config, drawn.uniforms[None].to(device), generators)
    sensors, scans = simulator.scans(truths, [drawn.sampling], generators)
    seen = torch.tensor([drawn.seen], device=device)
    latent = model.encode(*sensors.split(1, 1), present=None if all(drawn.seen) else seen)
    ct, mr = model.decode_all(latent, [0.0, 1.0])
    here = [sensors[:, m : m + 1] if drawn.seen[m] else None for m in range(2)]
    scan = scans[0]
    found = unrolled(scan.scanners, scan.data, scan.noise, (ct, mr), (here[0], here[1]))
    nothing = torch.zeros_like(ct)
    changes = [nothing if change is None else change for change in (found.ct, found.mr)]
    images = [nothing if image is None else image for image in here]
    return torch.cat([ct + changes[0], mr + changes[1], *changes, *images, truths], 1)[0]


def crops(kept: np.ndarray, config: TrainConfig, numbers: Sequence[Tensor], device: torch.device) -> Tensor:
    """One crop of a slice for each set of uniform numbers, mirrored at random: (N, 8, crop, crop) float32."""
    found = []
    for uniforms in numbers:
        index, row, column, left, up = uniforms[:5].tolist()
        span = config.size - config.crop + 1
        top, start = int(row * span), int(column * span)
        crop = kept[int(index * len(kept)), :, top : top + config.crop, start : start + config.crop]
        if left < 0.5:
            crop = crop[..., ::-1]
        if up < 0.5:
            crop = crop[..., ::-1, :]
        found.append(torch.from_numpy(crop.astype(np.float32)))
    return torch.stack(found).to(device)


def refinement_loss(refiner: Refiner, planes: Tensor) -> Tensor:
    """MAE of the refined CT and MR to the truths, planes (N, 8, H, W) as `crops` gives them.

    A slice without a modality, whose sensor image is nothing but zeros in the crop, counts for the other one alone.
    """
    parts = planes.split(1, 1)
    images, changed, sensors, truths = parts[0:2], parts[2:4], parts[4:6], planes[:, 6:]
    here = [sensor.flatten(1).amax(1) > 0 for sensor in sensors]
    refined = refiner(images, changed, sensors, here)
    return reconstruction_loss([image.clamp(0.0, 1.0) for image in refined], truths)
