"""A tiny random network and an oval head as CT and MR: quick inputs that several areas of the tests share."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

SIZE, SPACING, ORIGIN = (40, 44, 6), (4.0, 4.0, 5.0), (-70.0, 12.5, 31.0)


def image(array, spacing=SPACING, origin=ORIGIN):
    """A volume from an array (z, y, x)."""
    volume = sitk.GetImageFromArray(array)
    volume.SetSpacing(spacing)
    volume.SetOrigin(origin)
    return volume


def oval_head(shape, spacing: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """CT in HU and MR, float32 of `shape` (z, y, x): an oval with a ring of bone and two insets."""
    axes = ((np.arange(n) - (n - 1) / 2) * spacing for n in shape)
    z, y, x = np.meshgrid(*axes, indexing="ij")
    radius = np.hypot(x / 65, y / 75)
    ring = (radius > 0.8) & (radius < 0.92)
    ct = np.where(radius < 1, 40.0, -1000.0)
    ct[ring] = 900.0
    ct[(x - 20) ** 2 + (y + 20) ** 2 < 15**2] = 200.0
    mr = np.where(radius < 1, 300.0, 2.0) + z
    mr[ring] = 30.0
    mr[(x + 20) ** 2 + (y - 10) ** 2 < 15**2] = 600.0
    return ct.astype(np.float32), mr.astype(np.float32)


def write_model(path: Path) -> Path:
    """Write a checkpoint with random weights for slices of 64 x 64 pixels of 4 mm."""
    import torch

    from MSLFusionLib.io.checkpoints import save_checkpoint
    from MSLFusionLib.nets.presets import preset_config
    from MSLFusionLib.nets.registry import build

    torch.manual_seed(0)
    config = preset_config("msl-lite", width=8, token_dim=32, heads=2, head_dim=8, mlp_dim=32, embedding=16)
    card = {
        "name": "tiny",
        "architecture": "msl",
        "config": config.to_dict(),
        "preset": "msl-lite",
        "modalities": ["ct", "mr"],
        "normalisation": {"mr": "percentile"},
        "grid": {"size": [64, 64], "pixel_mm": 4.0},
        "sensors": {"views": [16, 128], "acceleration": [2, 16]},
    }
    save_checkpoint(path, build("msl", config.to_dict()), card)
    return path


def write_restorer(path: Path, scale: int = 2, restless: bool = True, **more) -> Path:
    """Write a tiny CMF-Net for T2 with T1; restless: with random last layers, else it gives what it is given (and that
    enlarged bicubically), as an untrained one does. more: entries of the card."""
    import torch

    from MSLFusionLib.io.checkpoints import save_checkpoint
    from MSLFusionLib.nets.cmfnet import CMFNet, cmf_preset

    torch.manual_seed(0)
    network = CMFNet(cmf_preset("compact", scale=scale, channels=8, unet_channels=8, exchanges=1, steps=1))
    if restless:
        for layer in (network.out_restored, network.out_enlarged):
            torch.nn.init.normal_(layer.weight, std=0.05)
    card = {
        "name": path.stem,
        "architecture": "cmf-net",
        "config": network.config.to_dict(),
        "preset": "compact",
        "modalities": ["t1", "t2"],
        "scale": scale,
        "normalisation": {},
        "grid": {},
        "sensors": {"acceleration": [2, 8], "masks": ["random"]},
        **more,
    }
    save_checkpoint(path, network, card)
    return path
