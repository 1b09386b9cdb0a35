"""Training DC2Fusion on patches or whole volumes, best state by the validation loss."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from MSLFusionLib.nets.dc2fusion import DC2Fusion
from MSLFusionLib.progress import Job
from MSLFusionTrainingLib.draws import mix
from MSLFusionTrainingLib.runloop import RunLoop
from MSLFusionTrainingLib.volumes.config import LOSS_WEIGHTS, VolumeConfig
from MSLFusionTrainingLib.volumes.losses import TERMS, fusion_loss


class VolumeTrainer(RunLoop):
    """One training run in one folder, see RunLoop.

    train, validation: pairs (heads, 2, z, y, x) in [0, 1], any floating type.
    """

    kind = "volumes"
    terms = TERMS
    config: VolumeConfig

    def __init__(
        self, config: VolumeConfig, train: Tensor, validation: Tensor, folder: Path, device: torch.device | None = None
    ) -> None:
        torch.manual_seed(config.seed)
        model = DC2Fusion(config.network()).to(device or torch.device("cpu")).train()
        model.set_checkpointing(config.checkpointing)
        super().__init__(config, model, torch.optim.Adam(model.parameters(), lr=config.learning_rate), folder)
        self.train_set, self.validation_set = train, validation
        self._weights = {name: float(getattr(config, name)) for name in LOSS_WEIGHTS}

    def loss(self) -> tuple[Tensor, Tensor]:
        """Of a batch of drawn patches."""
        config = self.config
        pair = torch.stack([self._patch(place) for place in range(config.batch)]).to(self.device)
        torch.manual_seed(mix(config.seed, self.iteration, 1))  # blocks left out
        return fusion_loss(self.model(pair[:, :1], pair[:, 1:]), pair, self._weights)

    def _patch(self, place: int) -> Tensor:
        """One drawn patch (2, z, y, x) float32; of three drawn places the one that shows most of the head."""
        config = self.config
        rng = np.random.default_rng(mix(config.seed, self.iteration, place + 2))
        pair = self.train_set[int(rng.integers(len(self.train_set)))]
        if config.crop:
            drawn = []
            for _ in range(3):
                z, y, x = (int(rng.integers(n - config.crop + 1)) for n in pair.shape[1:])
                drawn.append(pair[:, z : z + config.crop, y : y + config.crop, x : x + config.crop])
            pair = max(drawn, key=lambda patch: float((patch[0] > 0.05).float().mean()))
        flip = config.mirror and rng.random() < 0.5
        return (pair.flip(-1) if flip else pair).float()

    def measure(self, model: nn.Module, job: Job) -> tuple[dict[str, Any], list[list[np.ndarray]]]:
        """The loss and its terms on whole held-out volumes; first, second and fused of each head."""
        assert isinstance(model, DC2Fusion)
        total, pictures = torch.zeros(1 + len(TERMS)), []
        for pair in self.validation_set:
            job.check()
            pair = pair[None].float().to(self.device)
            fused = model.fuse_blocks(pair[:, :1], pair[:, 1:])
            loss, terms = fusion_loss(fused, pair, self._weights)
            total += torch.cat([loss[None], terms]).cpu() / len(self.validation_set)
            pictures.append(list(torch.cat([pair[0], fused[0]])[:, pair.shape[2] // 2].cpu().numpy()))
        return dict(zip(("loss", *TERMS), total.tolist(), strict=True)), pictures
