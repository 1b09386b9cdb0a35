"""Slices in batches that shrink when memory is full."""

from collections.abc import Callable

import numpy as np
import torch

from MSLFusionLib.errors import JobError
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.devices import device_name, is_out_of_memory


def in_batches(
    numbers: np.ndarray,
    work: Callable[[np.ndarray], None],
    batch: int,
    device: torch.device,
    stage: str,
    job: Job = NO_JOB,
) -> int:
    """Call `work` with the slice numbers in batches; one that does not fit the memory is halved and repeated.

    Returns the batch that did. Raises JobError when a single slice does not fit, Cancelled.
    """
    done = 0
    job.step(stage, 0, len(numbers))
    while done < len(numbers):
        part = numbers[done : done + batch]
        try:
            work(part)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(part) == 1:
                raise JobError(f"A single slice does not fit the memory of {device_name(device)}.") from error
            batch = max(1, len(part) // 2)
            job.warning(f"The memory is short: going on with {batch} slices at a time.")
            failed = True
        else:
            failed = False
            done += len(part)
            job.step(stage, done, len(numbers))
        if failed and device.type == "cuda":
            # Only here, when the exception no longer holds the tensors, can their memory be given back.
            torch.cuda.empty_cache()
    return batch
