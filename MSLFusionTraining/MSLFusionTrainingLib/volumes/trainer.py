"""Training DC2Fusion on patches or whole volumes, best state by the validation loss."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from MSLFusionLib.errors import InputError
from MSLFusionLib.nets.dc2fusion import DC2Fusion
from MSLFusionLib.progress import Job
from MSLFusionTrainingLib.draws import mix
from MSLFusionTrainingLib.runloop import FREE, RunLoop
from MSLFusionTrainingLib.volumes.config import LOSS_WEIGHTS, VolumeConfig
from MSLFusionTrainingLib.volumes.losses import TERMS, fusion_loss
from MSLFusionTrainingLib.volumes.sets import Pairs

_LARGEST = 192
"""Voxels a side of what is validated in each volume, so that memory stays bounded."""
_PICTURES = 6


class VolumeTrainer(RunLoop):
    """One training run in one folder, see RunLoop. train, validation: see sets.Pairs."""

    kind = "volumes"
    terms = TERMS
    # What is in the folder or the table is noted with the run and compared, see sets.load_sets.
    free = FREE | {"data"}
    config: VolumeConfig

    def __init__(
        self, config: VolumeConfig, train: Pairs, validation: Pairs, folder: Path, device: torch.device | None = None
    ) -> None:
        torch.manual_seed(config.seed)
        model = DC2Fusion(config.network()).to(device or torch.device("cpu")).train()
        model.set_checkpointing(config.checkpointing)
        super().__init__(config, model, torch.optim.Adam(model.parameters(), lr=config.learning_rate), folder)
        self.train_set, self.validation_set = train, validation
        self._weights = {name: float(getattr(config, name)) for name in LOSS_WEIGHTS}
        self._sides = _sides(config, train)

    def loss(self) -> tuple[Tensor, Tensor]:
        """Of a batch of drawn patches."""
        config = self.config
        pair = torch.stack([self._patch(place) for place in range(config.batch)]).to(self.device)
        torch.manual_seed(mix(config.seed, self.iteration, 1))  # blocks left out
        return fusion_loss(self.model(pair[:, :1], pair[:, 1:]), pair, self._weights, self.config.saliency)

    def _patch(self, place: int) -> Tensor:
        """One drawn patch (2, z, y, x) float32; of three drawn places the one that shows most of the object."""
        rng = np.random.default_rng(mix(self.config.seed, self.iteration, place + 2))
        index = int(rng.integers(len(self.train_set)))
        shape = self.train_set.shape(index)
        if self.config.crop:
            drawn = []
            for _ in range(3):
                corner = [int(rng.integers(n - side + 1)) for n, side in zip(shape, self._sides, strict=True)]
                z, y, x = (slice(at, at + side) for at, side in zip(corner, self._sides, strict=True))
                drawn.append(self.train_set.box(index, (z, y, x)))
            pair = max(drawn, key=lambda patch: float((patch[0] > 0.05).float().mean()))
        else:
            pair = self.train_set.box(index, (slice(None), slice(None), slice(None)))
        return pair.flip(-1) if self.config.mirror and rng.random() < 0.5 else pair

    def measure(self, model: nn.Module, job: Job) -> tuple[dict[str, Any], list[list[np.ndarray]]]:
        """The loss and its terms on held-out volumes, of large ones their middle; first, second and fused of some."""
        assert isinstance(model, DC2Fusion)
        count = len(self.validation_set)
        total = torch.zeros(1 + len(TERMS))
        pictures: list[list[np.ndarray]] = []
        for index in range(count):
            job.step("validate", index, count)
            z, y, x = (_middle(side) for side in self.validation_set.shape(index))
            pair = self.validation_set.box(index, (z, y, x))[None].to(self.device)
            fused = model.fuse_blocks(pair[:, :1], pair[:, 1:])
            loss, terms = fusion_loss(fused, pair, self._weights, self.config.saliency)
            total += torch.cat([loss[None], terms]).cpu() / count
            if len(pictures) < _PICTURES:
                pictures.append(list(torch.cat([pair[0], fused[0]])[:, pair.shape[2] // 2].cpu().numpy()))
        return dict(zip(("loss", *TERMS), total.tolist(), strict=True)), pictures


def _sides(config: VolumeConfig, train: Pairs) -> tuple[int, ...]:
    """Voxels a side of the patches: `crop`, or the smallest of the volumes' where that is less.

    Raises InputError for batches of whole volumes of different sizes.
    """
    shapes = [train.shape(index) for index in range(len(train))]
    if not config.crop and config.batch > 1 and len(set(shapes)) > 1:
        raise InputError("Whole volumes of different sizes make no batch: set crop, or batch to 1.")
    return tuple(min(config.crop, *side) for side in zip(*shapes, strict=True))


def _middle(length: int) -> slice:
    """The middle of an axis."""
    start = max(0, length - _LARGEST) // 2
    return slice(start, start + min(length, _LARGEST))
