"""The CMF-Nets that are shipped: small, complete cards, and far better than zero-filling on a head they never saw."""

import numpy as np
import pytest
import torch

from MSLFusionLib import metrics
from MSLFusionLib.io.checkpoints import find_model, load_checkpoint
from MSLFusionLib.nets.cmfnet import enhance
from MSLFusionLib.nets.unet import bicubic
from MSLFusionLib.phantom import head_slices
from MSLFusionLib.physics.lowres import LowResolution
from MSLFusionLib.physics.masks import cartesian_mask


@pytest.fixture(scope="module")
def head():
    """T1 and T2 of a slice, (1, 1, 256, 256) each."""
    found = head_slices(900004, [25.0], (256, 256), 1.0)
    return [torch.from_numpy(found[name])[None].float() for name in ("t1", "t2")]


def compared(image, truth):
    a, b = image[0, 0].numpy(), truth[0, 0].numpy()
    return np.array([metrics.psnr(a, b, float(b.max())), metrics.ssim(a, b, float(b.max()))])


@pytest.mark.parametrize("scale", [2, 4])
def test_it_restores_and_enlarges(scale, head):
    name = f"cmf-t1-t2-x{scale}"
    path = find_model(name)
    assert path.stat().st_size < 8e6
    loaded = load_checkpoint(path)
    card = loaded.card
    assert (loaded.name, card["scale"], card["modalities"]) == (name, scale, ["t1", "t2"])
    assert "no patient data" in card["training"]["data"]
    auxiliary, fine = head
    low = LowResolution(scale)
    kspace = low.measure(fine)
    mask = cartesian_mask(256 // scale, 4.0, seed=3)
    target, truth = low.image(kspace * torch.tensor(mask.columns)).abs(), low.image(kspace).abs()
    with torch.inference_mode():
        restored, enlarged = enhance(loaded.model, target, low.image(low.measure(auxiliary)).abs())
    assert (compared(restored, truth) - compared(target, truth) > (1.0, 0.15)).all()
    assert (compared(enlarged, fine) - compared(bicubic(target, scale), fine) > (0.7, 0.15)).all()
