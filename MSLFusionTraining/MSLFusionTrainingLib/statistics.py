"""Statistics of an exported model from the slices that it was trained on, and validation slices that it was not."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.checkpoints import load_checkpoint, save_with_statistics
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.heads import UNSEEN, one_of_each
from MSLFusionLib.recon.reconstructor import Reconstructor
from MSLFusionLib.recon.statistics import Familiar, learned
from MSLFusionTrainingLib.config import TrainConfig
from MSLFusionTrainingLib.data import Slices, head_seeds, load_heads
from MSLFusionTrainingLib.prepared import load_prepared

SLICES, HELD_OUT, ERROR_SLICES, ERROR_STEPS = 160, 80, 60, 1600


def add_statistics(path: Path, config: TrainConfig, cache: Path, device: str = "auto", job: Job = NO_JOB) -> None:
    """Store statistics (recon.statistics) in the model file at `path`, in place.

    config: of its training, whose slices come from the training set or from generated heads kept in `cache`. Raises
    InputError for a model that does not reconstruct CT and MR, for a set that is gone and for too few slices.
    """
    if config.measured != ("fan-beam", "fourier"):
        raise InputError("Statistics are for models of CT and MR that are measured by their scanners.")
    reconstructor = Reconstructor(load_checkpoint(path), device)
    if config.data:
        familiar, held_out = load_prepared(config.data, job)
        lesson_count = min(ERROR_SLICES, len(familiar))
        lessons = _spread(familiar, lesson_count)
        data = f"the training set {Path(config.data).name}"
    else:
        train, validation = head_seeds(config)
        validation = validation or [train[-1] + 1, train[-1] + 2]
        familiar, held_out = load_heads(config, train, cache, job=job), load_heads(config, validation, cache, job=job)
        others, options = range(UNSEEN, UNSEEN + ERROR_SLICES), reconstructor.options()
        lesson_count = len(others)
        lessons = one_of_each(others, options.size, options.pixel_mm, config.modalities[1])
        data = (
            f"generated heads {train[0]} to {train[-1]}; limit from {validation[0]} to {validation[-1]}; errors from "
            f"{others[0]} to {others[-1]}"
        )
    counts = min(SLICES, len(familiar)), min(HELD_OUT, len(held_out))
    pairs = _spread(familiar, counts[0]), _spread(held_out, counts[1])
    slices = Familiar(pairs[0], counts[0], pairs[1], counts[1], lessons, lesson_count, ERROR_STEPS, data)
    tensors, table = learned(reconstructor, slices, job)
    save_with_statistics(path, path, tensors, table)


def _spread(slices: Slices, count: int) -> Iterator[np.ndarray]:
    """`count` slices (2, H, W), evenly spread."""
    for index in np.linspace(0, len(slices) - 1, count).round().astype(int):
        yield slices.batch(torch.tensor([index]), torch.device("cpu"))[0].numpy()
