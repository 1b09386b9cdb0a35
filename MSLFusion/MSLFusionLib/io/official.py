"""Reading the authors' checkpoint file, the one place where a .pth is opened: through the weights-only loader."""

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MSLFusionLib import __version__
from MSLFusionLib.errors import InputError
from MSLFusionLib.io.checkpoints import save_checkpoint

if TYPE_CHECKING:
    import torch


def read_state(path: Path | str) -> "dict[str, torch.Tensor]":
    """The tensors of a .pth file: a state_dict, or the authors' {"network": state_dict}.

    Raises InputError when the file is missing or damaged, or needs more than tensors to load.
    """
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"The file {path} does not exist.") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError):
        raise InputError(
            f"{path} cannot be read as PyTorch weights: it is damaged or holds more than tensors."
        ) from None
    if isinstance(content, dict) and isinstance(content.get("network"), dict):
        content = content["network"]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise InputError(f"{path} does not hold the weights of a network.")
    return content


def import_official(source: Path | str, target: Path | str, name: str) -> dict[str, Any]:
    """Turn the authors' .pth into a checkpoint of ours at `target`; returns its card.

    Raises InputError when the file is not the authors' network.
    """
    from MSLFusionLib.nets.official import from_official

    model = from_official(read_state(source))
    card = official_card(name, model.config.to_dict(), sum(p.numel() for p in model.parameters()))
    save_checkpoint(target, model, card)
    return card


def official_card(name: str, config: dict[str, Any], parameters: int) -> dict[str, Any]:
    """The card of an imported network: what the authors' text and code say of its training."""
    return {
        "name": name,
        "version": __version__,
        "architecture": "msl",
        "preset": "official",
        "config": config,
        "parameters": parameters,
        "modalities": ["ct", "mr"],
        "contrasts": {"ct": "CT", "mr": "T1"},
        "normalisation": {"ct": "hu_to_network", "mr": "minmax of the body mask"},
        "grid": {"size": [384, 384], "pixel_mm": 0.6},
        "sensors": {"views": [64, 64], "acceleration": [4, 4], "masks": ["official"], "scan": "full", "noise": "none"},
        "training": {"data": "as its authors say; imported, not trained by MSLFusion"},
        "metrics": {},
        "licence": "the authors' (none is stated in their repository)",
        "limits": "Imported weights of third parties. Not for diagnosis.",
    }
