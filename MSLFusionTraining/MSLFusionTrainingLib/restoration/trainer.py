"""Training CMF-Net: low-resolution slices measured with drawn sampling, mean absolute errors of both images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from MSLFusionLib.metrics import nmse, psnr, ssim
from MSLFusionLib.nets.cmfnet import enhance, standardised
from MSLFusionLib.nets.registry import build
from MSLFusionLib.nets.unet import bicubic
from MSLFusionLib.progress import Job
from MSLFusionTrainingLib.augment import randomise
from MSLFusionTrainingLib.data import Slices
from MSLFusionTrainingLib.draws import mix
from MSLFusionTrainingLib.restoration.config import RestorationConfig
from MSLFusionTrainingLib.restoration.framing import stripped, tight
from MSLFusionTrainingLib.restoration.sensing import Measured, SliceDraw, draw_slice, measure, usual_sampling
from MSLFusionTrainingLib.runloop import RunLoop

KIND = "restoration"
TERMS = ("restored", "super_resolved")
IMAGES = ("zero_filled", "restored", "bicubic", "super_resolved")
"""What a validation measures."""


class RestorationTrainer(RunLoop):
    """One training run in one folder, see RunLoop.

    train: slices of auxiliary and target. validation: the slices of each volume that the run is watched on.
    """

    kind = KIND
    terms = TERMS
    config: RestorationConfig

    def __init__(
        self,
        config: RestorationConfig,
        train: Slices,
        validation: Sequence[Slices],
        folder: Path,
        device: torch.device | None = None,
    ) -> None:
        torch.manual_seed(config.seed)
        device = device or torch.device("cpu")
        model = build(config.network, config.architecture().to_dict()).to(device).train()
        kind = torch.optim.Adam if config.optimiser == "adam" else torch.optim.RMSprop
        super().__init__(config, model, kind(model.parameters(), lr=config.learning_rate), folder, config.ema)
        self.train_set, self.validation_set = train, list(validation)
        self._published = bool(getattr(model.config, "published", False))

    def loss(self) -> tuple[Tensor, Tensor]:
        """Mean absolute errors of drawn slices, in standard deviations of the zero-filled target."""
        config = self.config
        draws = [draw_slice(config, self.iteration, place, len(self.train_set)) for place in range(config.batch)]
        slices = self.train_set.batch(torch.tensor([draw.index for draw in draws]), self.device)
        generators = [torch.Generator(self.device).manual_seed(draw.seed) for draw in draws]
        uniforms = torch.stack([draw.uniforms for draw in draws]).to(self.device)
        slices = self._framed(randomise(slices, config, uniforms, generators), draws)
        seen = measure(slices, config, [draw.sampling for draw in draws], generators)
        (target, restored, fine), _, _ = standardised(seen.target, seen.restored, seen.fine, published=self._published)
        (auxiliary,), _, _ = standardised(seen.auxiliary, published=self._published)
        if self._published:
            (restored,), _, _ = standardised(seen.restored, published=True)
        seen = Measured(target, auxiliary, restored, fine)
        rows = config.crop // config.scale
        if rows and rows < target.shape[-2]:
            places = target.shape[-2] - rows + 1
            seen = seen.rows([int(draw.start * places) for draw in draws], rows, config.scale)
        low, high = self.model(seen.target, seen.auxiliary)
        errors = torch.stack([(low - seen.restored).abs().mean(), (high - seen.fine).abs().mean()])
        terms = errors * torch.tensor([config.weight_restored, config.weight_super_resolved], device=self.device)
        return terms.sum(), terms.detach()

    def _framed(self, slices: Tensor, draws: Sequence[SliceDraw]) -> Tensor:
        """As much of the heads as the scans of this step show; the field of view is one for all."""
        config = self.config
        parts = [
            stripped(one, round(draw.strip_mm / config.pixel_mm)) if draw.strip_mm else one
            for one, draw in zip(slices.split(1), draws, strict=True)
        ]
        generator = torch.Generator().manual_seed(mix(config.seed, self.iteration))
        if float(torch.rand((), generator=generator)) >= config.tight:
            return torch.cat(parts)
        return tight(torch.cat(parts), config.scale, generator)

    def measure(self, model: nn.Module, job: Job) -> tuple[dict[str, Any], list[list[np.ndarray]]]:
        """Mean figures over the validation volumes, fastMRI's way, and a slice of each.

        NMSE, PSNR and SSIM of each volume's chosen slices, with its largest value as range. The score is the mean of
        both images' absolute errors, in the volume's largest value.
        """
        config, volumes, pictures = self.config, [], []
        for number, volume in enumerate(self.validation_set):
            job.step("validate", number, len(self.validation_set))
            count = min(config.validation_slices, len(volume))
            chosen = torch.linspace(0, len(volume) - 1, count + 2).round().long()[1:-1] if count > 2 else [0] * count
            found: dict[str, list[Tensor]] = {name: [] for name in (*IMAGES, "low", "fine")}
            for index in torch.as_tensor(chosen).tolist():
                job.check()
                sampling = usual_sampling(config, index)
                slices = volume.batch(torch.tensor([index]), self.device)
                seen = measure(slices, config, [sampling], [torch.Generator(self.device)])
                low, high = enhance(model, seen.target, seen.auxiliary)
                images = (seen.target, low, bicubic(seen.target, config.scale), high, seen.restored, seen.fine)
                for name, image in zip(found, images, strict=True):
                    found[name].append(image[0, 0].cpu())
            arrays = {name: torch.stack(images).numpy() for name, images in found.items()}
            volumes.append(_figures(arrays))
            middle = len(arrays["fine"]) // 2
            pictures.append([_shown(arrays, name, middle) for name in ("bicubic", "super_resolved", "fine")])
        figures: dict[str, Any] = {
            name: {key: float(np.mean([one[name][key] for one in volumes])) for key in volumes[0][name]}
            for name in IMAGES
        }
        figures["loss"] = figures["restored"].pop("l1") + figures["super_resolved"].pop("l1")
        for name in ("zero_filled", "bicubic"):
            figures[name].pop("l1")
        return figures, pictures


def _figures(images: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    out = {}
    for name in IMAGES:
        truth = images["low" if name in ("zero_filled", "restored") else "fine"]
        largest = float(truth.max())
        out[name] = {
            "nmse": nmse(images[name], truth),
            "psnr": psnr(images[name], truth, largest),
            "ssim": ssim(images[name], truth, largest, slice_axis=0),
            "l1": float(np.abs(images[name] - truth).mean()) / largest,
        }
    return out


def _shown(images: dict[str, np.ndarray], name: str, number: int) -> np.ndarray:
    shown: np.ndarray = images[name][number] / images["fine"][number].max()
    return shown
