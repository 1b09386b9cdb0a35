"""The state of a training in one file, so that a killed run goes on exactly where it was.

Tensors (weights, averaged weights, Adam's moments, three validation slices) as safetensors; everything else as JSON
metadata. The randomness of a step depends on the seed and the step's number alone, so there is no generator to store.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.atomic import atomic_path
from MSLFusionLib.io.tensors import write_tensors
from MSLFusionTrainingLib.facts import BEST, KEY, LAST, read_facts

__all__ = ["BEST", "LAST", "load_extra", "load_state", "load_weights", "read_facts", "save_state"]


def save_state(
    path: Path,
    model: nn.Module | None,
    averaged: nn.Module | None,
    optimiser: torch.optim.Optimizer | None,
    facts: dict[str, Any],
    extra: dict[str, Tensor] | None = None,
) -> None:
    """Write the whole state, or nothing; `facts` must be JSON types, `extra` are further tensors to keep.

    A state without model or optimiser can be exported, but no run goes on from it.
    """
    tensors: dict[str, Tensor] = {}
    if model is not None:
        tensors |= {f"model/{key}": value for key, value in model.state_dict().items()}
    if averaged is not None:
        tensors |= {f"averaged/{key}": value for key, value in averaged.state_dict().items()}
    if optimiser is not None:
        for index, moments in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser/{index}/{key}": torch.as_tensor(value) for key, value in moments.items()}
    tensors |= {f"extra/{key}": value for key, value in (extra or {}).items()}
    tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with atomic_path(path) as temporary:
        write_tensors(tensors, temporary, {KEY: json.dumps(facts)})


def load_state(
    path: Path, model: nn.Module, averaged: nn.Module | None, optimiser: torch.optim.Optimizer
) -> dict[str, Any]:
    """Bring model, averaged model and optimiser to the stored state; returns the facts.

    Raises InputError when the file is damaged or belongs to another network.
    """
    facts = read_facts(path)
    tensors = _tensors(path)
    try:
        model.load_state_dict(_part(tensors, "model/"))
        if averaged is not None:
            averaged.load_state_dict(_part(tensors, "averaged/"))
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in _part(tensors, "optimiser/").items():
            index, name = key.split("/")
            moments.setdefault(int(index), {})[name] = value
        optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
    except (RuntimeError, ValueError, KeyError):
        raise InputError(f"{path} belongs to another network than this configuration: start a new run.") from None
    return facts


def load_weights(path: Path, model: nn.Module) -> dict[str, Any]:
    """Load the averaged weights (or the plain ones where none are averaged) for export; returns the facts."""
    facts = read_facts(path)
    tensors = _tensors(path)
    try:
        model.load_state_dict(_part(tensors, "averaged/") or _part(tensors, "model/"))
    except RuntimeError:
        raise InputError(f"{path} does not hold the network that its run describes: train again.") from None
    return facts


def load_extra(path: Path) -> dict[str, Tensor]:
    """The further tensors that were stored with a state."""
    read_facts(path)
    return _part(_tensors(path), "extra/")


def _tensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (safe_open is no mapping)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
