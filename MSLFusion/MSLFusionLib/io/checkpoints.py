"""Networks in files: one safetensors with the weights and, as JSON metadata, the model's card.

The card says what the network is and what it was trained on; without it a file is not ours. Pickles are never loaded.
"""

import itertools
import json
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.atomic import atomic_path
from MSLFusionLib.io.tensors import write_tensors
from MSLFusionLib.resources import models_folder, user_models_folder

if TYPE_CHECKING:
    import torch

METADATA_KEY = "mslfusion"
STATISTICS = "statistics."
"""Begins the names of tensors that are no weights, but tell what a network has seen."""
CARD_KEYS = ("name", "architecture", "config", "preset", "modalities", "normalisation", "grid", "sensors")
MAX_HEADER = 16 * 2**20
"""Bytes of a safetensors header that we are willing to parse."""
MAX_LISTED_HEADER = 2**20
"""The same when all models are listed: large networks of others have headers of many MB."""
MAX_ENTRIES, MAX_LISTED = 20_000, 500
"""Entries of a folder that are looked at, and files that are opened, when models are listed."""


@dataclass(frozen=True)
class ModelInfo:
    """A model that can be chosen: name (as `find_model` takes it), file and card."""

    name: str
    path: Path
    card: dict[str, Any]


@dataclass(frozen=True)
class LoadedModel:
    """A network ready to use, in evaluation mode, with its card.

    statistics: what its latents look like (recon.familiarity), tensors by "SET.NAME"; empty where none are stored.
    """

    model: Any
    card: dict[str, Any]
    path: Path
    name: str
    statistics: "dict[str, torch.Tensor]" = field(default_factory=dict)


def save_checkpoint(path: Path | str, model: "torch.nn.Module", card: dict[str, Any], half: bool = False) -> None:
    """Write weights and card to `path`, whole or not at all.

    card: see CARD_KEYS and Docs; `half` stores the weights as float16 (they are loaded as float32 again).
    Raises InputError when a key of the card is missing.
    """
    missing = [key for key in CARD_KEYS if key not in card]
    if missing:
        raise InputError(f"The model card lacks '{missing[0]}'.")
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    if half:
        tensors = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
    with atomic_path(Path(path)) as temporary:
        write_tensors(tensors, temporary, {METADATA_KEY: json.dumps(card)})
        temporary.chmod(0o644)  # safetensors writes for the owner alone; models are shared


def save_with_statistics(
    source: Path | str, target: Path | str, statistics: "dict[str, torch.Tensor]", table: dict[str, Any]
) -> None:
    """Write the checkpoint `source` to `target` (the same file, if wanted) with other statistics, weights as they are.

    statistics: see LoadedModel. table: the card's entry "statistics". Raises InputError as read_card does.
    """
    from safetensors.torch import load_file

    card = read_card(source)
    tensors = {key: value for key, value in load_file(source).items() if not key.startswith(STATISTICS)}
    tensors |= {STATISTICS + key: value.contiguous() for key, value in statistics.items()}
    metadata = {METADATA_KEY: json.dumps(card | {"statistics": table})}
    with atomic_path(Path(target)) as temporary:
        write_tensors(tensors, temporary, metadata)
        temporary.chmod(0o644)


def read_card(path: Path | str, most: int = MAX_HEADER) -> dict[str, Any]:
    """The card of a checkpoint, without loading its weights; most: bytes that its header may have.

    Raises InputError for a missing file, a file that is no safetensors (a pickle, say), a damaged one and one that
    carries no card of ours.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start, there = file.read(8), path.stat().st_size
            size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= size <= min(most, there - 8):
                raise InputError(_foreign(path, start))
            header = json.loads(file.read(size))
        metadata = header.get("__metadata__", {})
        card = json.loads(metadata[METADATA_KEY]) if METADATA_KEY in metadata else None
    except FileNotFoundError:
        raise InputError(f"The model file {path} does not exist.") from None
    except OSError as error:
        raise InputError(f"The model file {path} cannot be read: {error.strerror}.") from None
    except (ValueError, AttributeError, TypeError):
        raise InputError(_foreign(path, start)) from None
    if card is None:
        raise InputError(
            f"{path} is a safetensors file, but not a model of MSLFusion: it has no model card. "
            "Use 'mslfusion models import-official' for the authors' weights."
        )
    if not isinstance(card, dict) or any(key not in card for key in CARD_KEYS):
        raise InputError(f"The model card in {path} is incomplete: train or export the model again.")
    if there != 8 + size + _end_of_weights(header):
        raise InputError(f"The model file {path} is damaged: copy or download it again.")
    return card


def load_checkpoint(path: Path | str, device: str = "cpu") -> LoadedModel:
    """The network of a checkpoint, in evaluation mode on `device`, float32.

    Raises InputError for everything that read_card refuses and for weights that do not fit the card.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from MSLFusionLib.nets.registry import build

    path = Path(path)
    card = read_card(path)
    if not isinstance(card["config"], dict):
        raise InputError(f"The model card in {path} is damaged: its configuration is no table.")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError):
        raise InputError(f"The model file {path} is damaged: copy or download it again.") from None
    statistics = {key.removeprefix(STATISTICS): t for key, t in tensors.items() if key.startswith(STATISTICS)}
    tensors = {key: value for key, value in tensors.items() if not key.startswith(STATISTICS)}
    model = _empty(build, card, path, tensors)
    tensors = {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
    try:
        model.load_state_dict(tensors)
    except RuntimeError:
        raise InputError(f"The weights in {path} do not fit its model card: the file is damaged.") from None
    if not all(bool(torch.isfinite(t).all()) for t in tensors.values() if t.is_floating_point()):
        raise InputError(f"The weights in {path} are not finite numbers: the file is damaged.")
    return LoadedModel(model.eval().to(device), card, path, str(card["name"]), statistics)


def list_models(folders: Iterable[Path] = (), architecture: str | None = "msl") -> list[ModelInfo]:
    """Every model to choose from: shipped ones, those in the user's folders (see `model_folders`) and in `folders`.

    A name is the file's without its ending; where an earlier model has it already, the whole path. What a folder that
    is no folder of models may cost is bounded: see MAX_ENTRIES, MAX_LISTED and MAX_LISTED_HEADER. architecture: only
    networks of this kind (see nets.registry); None for all.
    """
    models: list[ModelInfo] = []
    names, files = set(), set()
    for folder in (*model_folders(), *folders):
        for path in _candidates(folder):
            file = os.path.realpath(path)
            try:
                card = None if file in files else read_card(path, MAX_LISTED_HEADER)
            except InputError:
                continue  # a foreign file beside our models is no error until somebody asks for it
            if card is not None and architecture in (None, card["architecture"]):
                name = str(path) if path.stem in names else path.stem
                models.append(ModelInfo(name, path, card))
                names.add(name)
                files.add(file)
    return models


def _candidates(folder: Path) -> list[Path]:
    """Files of a folder that may be models, by name; none where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            some = itertools.islice(entries, MAX_ENTRIES)
            # Only files: opening a pipe would wait for ever.
            names = [one.name for one in some if one.name.endswith(".safetensors") and one.is_file()]
    except (OSError, ValueError):
        return []
    return [folder / name for name in sorted(names)[:MAX_LISTED]]


def model_folders() -> list[Path]:
    """Folders searched for models: the shipped one, those named in the environment's MSLFUSION_MODELS, the user's."""
    named = [Path(folder) for folder in os.environ.get("MSLFUSION_MODELS", "").split(os.pathsep) if folder]
    return [models_folder(), *(named or [user_models_folder()])]


def find_model(name_or_path: str | Path, architecture: str | None = None) -> Path:
    """The file of a model given by name or path; InputError when there is none, with the names there are.

    architecture: of the models that names stand for, None for all.
    """
    text = str(name_or_path)
    if Path(text).suffix or os.sep in text:
        if not Path(text).is_file():
            raise InputError(f"The model file {text} does not exist.")
        return Path(text)
    models = list_models(architecture=architecture)
    for info in models:
        if info.name == text:
            return info.path
    names = ", ".join(info.name for info in models) or "none installed"
    raise InputError(f"There is no model '{text}': use a file or one of these names: {names}.")


def _end_of_weights(header: dict[str, Any]) -> int:
    """Bytes of all tensors, from a safetensors header; 0 where it does not say."""
    entries = [entry for name, entry in header.items() if name != "__metadata__"]
    try:
        return max((int(entry["data_offsets"][1]) for entry in entries), default=0)
    except (KeyError, IndexError, TypeError, ValueError):
        return 0


def _empty(build: Any, card: dict[str, Any], path: Path, tensors: dict[str, Any]) -> Any:
    """The network that the card describes, refused before it takes memory that the weights do not account for."""
    import torch

    try:
        with torch.device("meta"):
            expected = {k: v.shape for k, v in build(card["architecture"], card["config"]).state_dict().items()}
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if expected != {key: value.shape for key, value in tensors.items()}:
        raise InputError(f"The weights in {path} do not fit its model card: the file is damaged.")
    return build(card["architecture"], card["config"])


def _foreign(path: Path, start: bytes) -> str:
    if start[:2] == b"PK" or start[:1] == b"\x80":
        return (
            f"{path} is a PyTorch pickle, which MSLFusion never loads: give a .safetensors model, or convert the "
            "authors' weights with 'mslfusion models import-official'."
        )
    return f"{path} is not a safetensors file, or it is damaged: give a model written by MSLFusion."
