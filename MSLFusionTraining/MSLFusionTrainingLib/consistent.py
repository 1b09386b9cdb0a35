"""Data consistency inside training: the loss of images that were corrected towards the data, with its gradients."""

from collections.abc import Sequence

import torch
from torch import Tensor

from MSLFusionLib.nets.msl import MSL
from MSLFusionLib.recon.unrolled import unrolled
from MSLFusionTrainingLib.losses import reconstruction_loss
from MSLFusionTrainingLib.sensors import Scan


def consistent_loss(
    model: MSL, sensors: Tensor, scans: Sequence[Scan], truths: Tensor, seen: Tensor, frozen: bool
) -> Tensor:
    """Equation 14 for what the user gets: MAE(X_CT', CT*) + MAE(X_MR', MR*) of the corrected images.

    sensors, truths: (N, 2, H, W); seen: (N, 2) bool, the modalities that each slice was measured with; what it was not
    measured with takes part uncorrected. frozen: no gradients in the network before the corrections.
    """
    with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
        whole = bool(seen.all())
        latent = model.encode(*sensors.split(1, 1), present=None if whole else seen)
        images = [image.float().clamp(0, 1) for image in model.decode_all(latent, [0.0, 1.0])]
    return reconstruction_loss(corrected(model, scans, sensors, (images[0], images[1]), seen), truths)


def corrected(
    model: MSL,
    scans: Sequence[Scan],
    sensors: Tensor,
    images: tuple[Tensor, Tensor],
    seen: Tensor | None = None,
) -> list[Tensor]:
    """The network's CT and MR, each (N, 1, H, W), corrected towards the data of each slice; seen: as above, None for
    all."""
    found: list[list[Tensor]] = [[], []]
    for i, scan in enumerate(scans):
        own = [image[i : i + 1] for image in images]
        here = [sensors[i : i + 1, m : m + 1] if seen is None or bool(seen[i, m]) else None for m in range(2)]
        change = unrolled(
            scan.scanners, scan.data, scan.noise, (own[0], own[1]), (here[0], here[1]), getattr(model, "refiner", None)
        )
        for m, part in enumerate((change.ct, change.mr)):
            found[m].append(own[m] if part is None else own[m] + part)
    return [torch.cat(parts) for parts in found]
