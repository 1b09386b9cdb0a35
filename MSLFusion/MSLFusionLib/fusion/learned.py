"""Fusion by a trained DC2Fusion network, found among the installed models by the modalities of the pair."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from MSLFusionLib.errors import InputError
from MSLFusionLib.fusion.interface import Pair
from MSLFusionLib.io.checkpoints import find_model, list_models, load_checkpoint, read_card
from MSLFusionLib.progress import Job

ARCHITECTURE = "dc2fusion"


def dc2fusion(pair: Pair, settings: Mapping[str, Any], job: Job) -> np.ndarray:
    """The network's image of a pair of volumes; settings: model, device, block.

    A pair in the other order than the model's is turned round. Raises InputError for 2-D images, for modalities
    that no model is for, and for a model of another kind.
    """
    import torch

    from MSLFusionLib.recon.devices import choose_device

    if pair.first.ndim != 3:
        raise InputError("DC2Fusion works on volumes: leave out --slicewise, or choose another method.")
    device = choose_device(settings["device"])
    loaded = load_checkpoint(model_file(pair.modalities, settings["model"]))
    images = [torch.from_numpy(np.ascontiguousarray(image))[None, None] for image in (pair.first, pair.second)]
    if _kinds(loaded.card["modalities"]) != tuple(pair.modalities):
        images.reverse()
    model = loaded.model.to(device)
    fused = model.fuse_blocks(images[0].to(device), images[1].to(device), settings["block"], job)
    return fused[0, 0].cpu().numpy()


def installed_pairs() -> list[tuple[str, str]]:
    """The modalities that installed models are for, each pair once."""
    found = [_kinds(info.card["modalities"]) for info in list_models(architecture=ARCHITECTURE)]
    return list(dict.fromkeys((pair[0], pair[1]) for pair in found if len(pair) == 2))


def _kinds(names: Sequence[str]) -> tuple[str, ...]:
    """What a pair says of images that a card calls so: a model of two MR contrasts names both, a pair says "mr"."""
    return tuple(name if name in ("ct", "pet") else "mr" for name in names)


def model_file(modalities: tuple[str, str], name: str = "") -> Path:
    """The file of the model called `name`, or else of the first installed one for the modalities, in either order.

    Raises InputError where there is none, or the one named is for something else.
    """
    if name:
        path = find_model(name, ARCHITECTURE)
        card = read_card(path)
        if card["architecture"] != ARCHITECTURE:
            raise InputError(f"The model '{card['name']}' is no DC2Fusion network and cannot fuse.")
        if sorted(_kinds(card["modalities"])) != sorted(modalities):
            pair = " and ".join(map(str, card["modalities"]))
            raise InputError(f"The model '{card['name']}' fuses {pair}, not {' and '.join(modalities)}.")
        return path
    for info in list_models(architecture=ARCHITECTURE):
        if sorted(_kinds(info.card["modalities"])) == sorted(modalities):
            return info.path
    known = ", ".join("+".join(pair) for pair in installed_pairs()) or "none"
    raise InputError(
        f"No DC2Fusion model for {' and '.join(modalities)} is installed (there is: {known}): name the volumes rightly "
        "with --modalities, give one with --model FILE, or choose another method."
    )
