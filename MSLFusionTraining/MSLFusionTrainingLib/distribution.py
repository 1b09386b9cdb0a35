"""The processes of a training: one on its own, or several that Lightning Fabric starts and lets talk."""

import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from MSLFusionLib.errors import InputError


class Processes:
    """One process of `world`, the `rank`-th of them, on `device`. On its own it needs no Lightning.

    fabric: a launched lightning.fabric.Fabric, or None for a process on its own.
    """

    def __init__(self, device: torch.device, fabric: Any = None) -> None:
        self.device = device
        self._fabric = fabric
        self.rank = 0 if fabric is None else int(fabric.global_rank)
        self.world = 1 if fabric is None else int(fabric.world_size)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every process the mean of all processes' gradients."""
        if self._fabric is None or self.world == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        flat = self._fabric.all_reduce(flat, reduce_op="mean")
        parts = flat.split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [part.view_as(g) for part, g in zip(parts, gradients, strict=True)])

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a tensor over all processes."""
        if self._fabric is None or self.world == 1:
            return values
        averaged: Tensor = self._fabric.all_reduce(values, reduce_op="mean")
        return averaged

    def agree(self, value: Any) -> Any:
        """What the first process says; the others wait for it."""
        if self._fabric is None or self.world == 1:
            return value
        return self._fabric.broadcast(value, src=0)


def start(device: torch.device, devices: int = 1, nodes: int = 1) -> Processes:
    """The processes of a training: `devices` on each of `nodes` machines.

    More than one are started by Lightning Fabric, by torchrun or by SLURM (`srun`), whose variables Fabric reads;
    this function then returns in each of them. Raises InputError when Lightning is missing or the devices are not
    there.
    """
    if devices < 1 or nodes < 1:
        raise InputError("devices and nodes must be at least 1.")
    if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun has decided already
        devices, nodes = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["GROUP_WORLD_SIZE"])
    if devices == nodes == 1:
        return Processes(device)
    if device.type == "cuda" and devices > torch.cuda.device_count():
        raise InputError(f"{devices} devices were asked for, but this machine has {torch.cuda.device_count()} GPUs.")
    try:
        from lightning.fabric import Fabric
    except ModuleNotFoundError:
        raise InputError("Several devices need Lightning: pip install 'mslfusion[train]'.") from None
    fabric = Fabric(accelerator=device.type, devices=devices, num_nodes=nodes, strategy="ddp")
    fabric.launch()
    return Processes(fabric.device, fabric)
