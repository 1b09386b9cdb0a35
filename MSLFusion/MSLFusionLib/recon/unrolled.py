"""From the network's CT and MR to images that are true to the data: corrections with learned steps between them.

X_0 = C(network), X_k = C(X_{k-1} + R(X_{k-1}, ...)), where C corrects towards the measurement (recon.consistency) and
R is the network's refiner (nets.refine), the same for all k = 1 ... cascades. A network without one is corrected
once. All of it has gradients: training runs through the same lines as reconstruction.
"""

import torch
from torch import Tensor

from MSLFusionLib.nets.refine import Refiner
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.consistency import Changes, changes
from MSLFusionLib.recon.noise_level import SensorNoise
from MSLFusionLib.recon.simulate import Scanners, SensorBatch


def unrolled(
    scanners: Scanners,
    data: SensorBatch,
    noise: SensorNoise,
    images: tuple[Tensor, Tensor],
    sensors: tuple[Tensor | None, Tensor | None],
    refiner: Refiner | None = None,
    job: Job = NO_JOB,
) -> Changes:
    """What is added to the network's CT and MR (`images`, lambda 0 and 1, each (n, 1, H, W) in [0, 1]).

    sensors: FBP and zero-filled images in [0, 1]; None for a modality that was not measured or must not be used,
    which is left as the network made it. Raises Cancelled between the steps.
    """
    now = list(images)
    changed: list[Tensor | None] = [None, None]
    for stage in range(1 if refiner is None else refiner.cascades + 1):
        job.check()
        if stage and refiner is not None:
            refined = refiner(now, changed, sensors)
            now = [image.clamp(0.0, 1.0) for image in refined]
        ct, mr = (image if sensor is not None else None for image, sensor in zip(now, sensors, strict=True))
        found = changes(scanners, data, noise, ct, mr, stage > 0, job)
        changed = [found.ct, found.mr]
        now = [_added(image, change) for image, change in zip(now, changed, strict=True)]
    total = [
        None if change is None else image - first for image, first, change in zip(now, images, changed, strict=True)
    ]
    return Changes(*total)


def _added(image: Tensor, change: Tensor | None) -> Tensor:
    return image if change is None else torch.add(image, change)
