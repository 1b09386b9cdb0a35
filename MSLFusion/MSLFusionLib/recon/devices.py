"""Which device the network runs on, and how many slices it takes at a time."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from MSLFusionLib.errors import InputError

_CPU_BATCH = 4
_CUDA_BATCH = 32
_BYTES_PER_PIXEL = 8192
"""A generous bound of what one network pixel needs in memory while a full-size network runs."""


def choose_device(name: str) -> torch.device:
    """The device called "auto", "cpu" or "cuda[:N]"; raises InputError when it is unknown or not there."""
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if name == "cpu":
        return torch.device("cpu")
    if kind != "cuda" or not (number.isdecimal() or name == "cuda"):
        raise InputError(f"Unknown device '{name}': use auto, cpu, cuda or cuda:N.")
    if not torch.cuda.is_available():
        raise InputError(f"The device {name} was asked for, but there is no CUDA GPU here: use --device cpu.")
    index = int(number or 0)
    if index >= torch.cuda.device_count():
        raise InputError(f"There is no {name}: this machine has {torch.cuda.device_count()} CUDA device(s).")
    return torch.device("cuda", index)


def device_name(device: torch.device) -> str:
    """A name for people: the GPU's, or the processor's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()}, {torch.get_num_threads()} threads)"


def starting_batch(device: torch.device, size: tuple[int, int]) -> int:
    """Slices of `size` pixels to begin with: few on a CPU, as many as the free memory holds on a GPU."""
    if device.type != "cuda":
        return _CPU_BATCH
    free, _ = torch.cuda.mem_get_info(device)
    return int(min(_CUDA_BATCH, max(1, free // (size[0] * size[1] * _BYTES_PER_PIXEL))))


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch raised this because memory ran out, on a GPU or on the CPU."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error)


@contextmanager
def reproducible() -> Iterator[None]:
    """Without gradients, and with those algorithms only that give the same numbers each time."""
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        yield
