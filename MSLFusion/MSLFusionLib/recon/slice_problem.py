"""One slice whose lambda map is sought: what a map is worth there, and its gradient."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from MSLFusionLib.errors import InputError, JobError
from MSLFusionLib.physics.units import hu_to_network
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.body import BODY_HU
from MSLFusionLib.recon.consistency import blended
from MSLFusionLib.recon.latents import own_copy
from MSLFusionLib.recon.mapgrid import CELL, MapGrid
from MSLFusionLib.recon.objectives import Objective
from MSLFusionLib.recon.session import Session
from MSLFusionLib.recon.sources import VolumeSource

_FEWEST_PIXELS = 64
_MR_BODY = 0.05
"""What counts as body in the MR where there is no CT, in network values."""
_SPREADS = (0.4, 1.0)
"""How far starts are spread around a constant."""
STARTS = 1 + len(_SPREADS)
"""Of them at most."""


class SliceProblem:
    """The slice with this number: its latent, the images of lambda 0 and 1, and the weights of its pixels.

    weights: see optimise.optimise_lambda. usable: whether enough pixels count.
    """

    def __init__(
        self,
        session: Session,
        number: int,
        objective: Objective,
        grid: MapGrid,
        weights: np.ndarray | None = None,
        job: Job = NO_JOB,
    ) -> None:
        self.number = number
        self._grid, self._model, self._device = grid, session.model, session.device
        # Copies: what was made without gradients cannot take part in one that has them.
        self._encoded: Any = own_copy(session.encoded(number, job))
        with torch.no_grad():
            self._ct, self._mr = (self._image(lam)[0, 0].clone() for lam in (0.0, 1.0))
        weight = self._weight(session, weights)
        self.usable = int(torch.count_nonzero(weight)) >= _FEWEST_PIXELS
        if self.usable:
            self._criterion = objective(self._ct, self._mr, weight / weight.sum())

    def constant(self, lam: float) -> Tensor:
        """The map (h, w) of one lambda."""
        return torch.full(self._grid.shape, lam, device=self._device)

    def starts(self, constant: float, neighbour: Tensor | None) -> list[Tensor]:
        """Maps to begin from beside a constant: the neighbouring slice's, and some that lean to CT where the CT has
        more contrast than the MR, and the other way round."""
        found = [] if neighbour is None else [neighbour]
        contrast = [_contrast(image) for image in (self._ct, self._mr)]
        lean = contrast[1] / (contrast[0] + contrast[1] + 1e-3)
        lean = F.adaptive_avg_pool2d(lean[None, None], self._grid.shape)[0, 0]
        return [*found, *((lean * spread + constant * (1.0 - spread)).clamp(0.0, 1.0) for spread in _SPREADS)]

    def value(self, lam: Tensor) -> float:
        """The objective at a map (h, w)."""
        with torch.no_grad():
            return _number(self._criterion(self._image(self._grid.network(lam))[0, 0]))

    def with_gradient(self, lam: Tensor) -> tuple[float, Callable[[], Tensor]]:
        """The same, and what gives the gradient (h, w) when it is called."""
        with torch.enable_grad(), _frozen(self._model):
            seen = lam.detach().clone().requires_grad_(True)
            value = self._criterion(self._image(self._grid.network(seen))[0, 0])

        def gradient() -> Tensor:
            (found,) = torch.autograd.grad(value, seen)
            if not bool(torch.isfinite(found).all()):
                raise JobError("The objective's gradient is not a number somewhere: its function has to be mended.")
            return found

        return _number(value), gradient

    def _image(self, lam: "float | Tensor") -> Tensor:
        """The hybrid (1, 1, H, W) as Reconstructor.hybrid gives it, with gradients where they are wanted."""
        cuda = self._device.type == "cuda"
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)
        with exact, torch.autocast(self._device.type, torch.bfloat16, enabled=cuda):
            hybrid = self._model.decode(self._encoded.latent, lam)
        return blended(hybrid.float().clamp(0.0, 1.0), lam, self._encoded.changes)

    def _weight(self, session: Session, weights: np.ndarray | None) -> Tensor:
        """How much each pixel counts, (H, W): 0 outside the body."""
        grid, source, number = session.grid, session.source, self.number
        if isinstance(source, VolumeSource):
            body = grid.to_network(grid.turned(source.body)[number : number + 1].astype(np.float32))[0] > 0.5
        else:
            with_ct = source.scanners.ct is not None
            level = float(hu_to_network(np.float32(BODY_HU))) if with_ct else _MR_BODY
            body = ndimage.binary_fill_holes((self._ct if with_ct else self._mr).cpu().numpy() > level)
        weight = body.astype(np.float32)
        if weights is not None:
            weight *= np.maximum(grid.to_network(grid.turned(weights)[number : number + 1])[0], 0.0)
        return torch.from_numpy(weight).to(self._device)


@contextmanager
def _frozen(model: Any) -> Iterator[None]:
    """The network's weights want no gradients, which would cost as much again."""
    wanting = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in wanting:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanting:
            parameter.requires_grad_(True)


def _number(value: Tensor) -> float:
    number = float(value.detach())
    if not np.isfinite(number):
        raise InputError("The objective is not a number for some lambda: its function has to be mended.")
    return number


def _contrast(image: Tensor) -> Tensor:
    """How much the image varies around each pixel (H, W): the standard deviation in a window of about two cells."""
    size = 2 * CELL + 1

    def mean(values: Tensor) -> Tensor:
        return F.avg_pool2d(values[None, None], size, 1, CELL, count_include_pad=False)[0, 0]

    return (mean(image.square()) - mean(image).square()).clamp_min(0.0).sqrt()
