"""Total variation reconstruction from any CT or MR scan, by a primal-dual method; batched, each slice on its own.

Minimises 1/2 |A x - y|^2 + a TV(x) (Rudin, Osher & Fatemi, Physica D 60:259, 1992), with x >= 0 where asked for, by
the method of Chambolle & Pock (J Math Imaging Vis 40:120, 2011) with the diagonal steps of Pock & Chambolle (ICCV
2011) for CT. TV is isotropic, of complex images the length of the complex gradient. The weight a is given relative
to the largest value of |A^H y|, at which the image would be nearly constant: it then means the same for every scan.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.ct import CTOperator
from MSLFusionLib.physics.mr import CartesianMR
from MSLFusionLib.progress import NO_JOB, Job

_STAGE = "total variation"


def tv_ct(
    operator: CTOperator,
    sinogram: Tensor,
    weight: float | Tensor,
    iterations: int = 200,
    non_negative: bool = True,
    initial: Tensor | None = None,
    job: Job = NO_JOB,
) -> Tensor:
    """Image (N, 1, H, W) in image units of a sinogram (N, 1, views, bins) of any angles.

    weight: of the total variation, relative (see the module), one for all or for each slice (N,); 0 is least squares.
    initial: where to start, zero by default. Raises InputError for a weight or number of iterations that is not
    possible, Cancelled.
    """
    data = sinogram.to(torch.float32)
    height, width = operator.geometry.image_shape
    ones = data.new_ones((1, 1, height, width))
    rows = operator.forward(ones)
    columns = operator.adjoint(torch.ones_like(rows))
    scale = float(columns.mean()) / 4
    steps = _Steps(_inverse(rows), 1 / (2 * scale), 1 / (columns + 4 * scale), scale)
    return _primal_dual(operator.forward, operator.adjoint, data, weight, iterations, steps, non_negative, initial, job)


def tv_mr(
    operator: CartesianMR,
    kspace: Tensor,
    weight: float | Tensor,
    iterations: int = 100,
    non_negative: bool = False,
    initial: Tensor | None = None,
    job: Job = NO_JOB,
) -> Tensor:
    """Complex image (N, 1, H, W) of k-space (N, coils, ky, kx); several coils need the operator's coil maps.

    non_negative: of an object without phase, real and not negative, which is then what is looked for and returned.
    weight, initial, errors: as for `tv_ct`.
    """
    norm = _largest(operator, kspace)
    scale = norm / 8**0.5
    step = 0.99 / (2**0.5 * norm)
    steps = _Steps(step, step, step, scale)

    def back(data: Tensor) -> Tensor:
        return operator.adjoint(data).real if non_negative else operator.adjoint(data)

    return _primal_dual(operator.forward, back, kspace, weight, iterations, steps, non_negative, initial, job)


@dataclass(frozen=True)
class _Steps:
    """Step sizes in the data, in the gradient (times `scale`, which makes it as strong as A), and in the image."""

    data: Tensor | float
    gradient: float
    image: Tensor | float
    scale: float


def _primal_dual(
    forward: Callable[[Tensor], Tensor],
    adjoint: Callable[[Tensor], Tensor],
    data: Tensor,
    weight: float | Tensor,
    iterations: int,
    steps: _Steps,
    non_negative: bool,
    initial: Tensor | None,
    job: Job,
) -> Tensor:
    if iterations < 1:
        raise InputError(f"An iterative reconstruction needs at least one iteration, not {iterations}.")
    weights = torch.as_tensor(weight, dtype=torch.float32, device=data.device).reshape(-1, 1, 1, 1)
    if not bool(((weights >= 0) & (weights < float("inf"))).all()):
        raise InputError(f"The weight of the total variation must be 0 or more, not {weight}.")
    with torch.no_grad():
        back = adjoint(data)
        radius = weights * back.abs().amax(dim=(1, 2, 3), keepdim=True) / steps.scale
        image = torch.zeros_like(back) if initial is None else initial.to(back)
        ahead = image
        dual = torch.zeros_like(data)
        across = _Across(image)
        shrink = 1 / (1 + steps.data)
        share = steps.data * shrink
        for done in range(iterations):
            job.step(_STAGE, done, iterations)
            # Large arrays are read and written as few times as possible: that is most of the time.
            dual.mul_(shrink).add_((forward(ahead) - data).mul_(share))
            across.ascend(ahead, steps.gradient * steps.scale, radius)
            moved = across.minus_divergence(adjoint(dual), steps.scale).mul_(-steps.image).add_(image)
            if non_negative:
                moved.clamp_(min=0)
            ahead = torch.sub(moved, image).add_(moved)
            image = moved
    job.step(_STAGE, iterations, iterations)
    return image


class _Across:
    """The dual variable of the gradient: down (N, 1, H - 1, W) and to the right (N, 1, H, W - 1); 0 at the edges."""

    def __init__(self, image: Tensor) -> None:
        self.down = torch.zeros_like(image[..., 1:, :])
        self.right = torch.zeros_like(image[..., 1:])
        self._length = torch.zeros_like(image.abs())

    def ascend(self, image: Tensor, step: float, radius: Tensor) -> None:
        """Add `step` times the image's gradient, then shorten to `radius` what is longer."""
        self.down.add_(image[..., 1:, :], alpha=step).sub_(image[..., :-1, :], alpha=step)
        self.right.add_(image[..., 1:], alpha=step).sub_(image[..., :-1], alpha=step)
        length = self._length.zero_()
        length[..., :-1, :] = _squared(self.down)
        length[..., :-1] += _squared(self.right)
        length.sqrt_()
        factor = torch.div(radius, torch.maximum(length, radius).clamp_(min=1e-30), out=length)
        self.down.mul_(factor[..., :-1, :])
        self.right.mul_(factor[..., :-1])

    def minus_divergence(self, image: Tensor, scale: float) -> Tensor:
        """`image` minus `scale` times the divergence, in place."""
        image[..., :-1, :].sub_(self.down, alpha=scale)
        image[..., 1:, :].add_(self.down, alpha=scale)
        image[..., :-1].sub_(self.right, alpha=scale)
        image[..., 1:].add_(self.right, alpha=scale)
        return image


def _squared(values: Tensor) -> Tensor:
    return torch.view_as_real(values).square().sum(dim=-1) if values.is_complex() else values.square()


def tv_step(
    image: Tensor, weight: Tensor | float, dual: Tensor | None, largest: float | None = None, rounds: int = 2
) -> tuple[Tensor, Tensor]:
    """Nearly argmin_x 1/2 |x - image|^2 + weight TV(x), x from 0 to `largest`, (N, 1, H, W), and its dual field.

    A few rounds of Chambolle's projection (J Math Imaging Vis 20:89, 2004; with bounds: Beck & Teboulle, IEEE TIP
    18:2419, 2009). Given the field of the step before, they are enough inside an iteration; None to begin with.
    weight: a number, or one for each slice (N, 1, 1, 1).
    """
    if dual is None:
        dual = torch.zeros_like(torch.stack((image, image)))
    for _ in range(rounds):
        dual = dual + gradient((image + divergence(dual)).clamp(0.0, largest)) / 8
        length = dual.square().sum(dim=0).clamp_min(1e-20).sqrt()
        dual = dual * (weight / length).clamp_max(1.0)
    return (image + divergence(dual)).clamp(0.0, largest), dual


def gradient(image: Tensor) -> Tensor:
    """Forward differences (2, N, 1, H, W) of images (N, 1, H, W) down and to the right; 0 beyond the edges."""
    result = torch.zeros_like(torch.stack((image, image)))
    result[0, ..., :-1, :] = image[..., 1:, :] - image[..., :-1, :]
    result[1, ..., :-1] = image[..., 1:] - image[..., :-1]
    return result


def divergence(field: Tensor) -> Tensor:
    """The negative transpose of `gradient`: (2, N, 1, H, W) -> (N, 1, H, W)."""
    result = torch.zeros_like(field[0])
    result[..., :-1, :] += field[0, ..., :-1, :]
    result[..., 1:, :] -= field[0, ..., :-1, :]
    result[..., :-1] += field[1, ..., :-1]
    result[..., 1:] -= field[1, ..., :-1]
    return result


def _inverse(sums: Tensor) -> Tensor:
    """1 / sums; rays that miss the image take part in nothing."""
    return torch.where(sums > 0, 1 / sums.clamp(min=torch.finfo(sums.dtype).tiny), 0)


def _largest(operator: CartesianMR, kspace: Tensor, rounds: int = 20) -> float:
    """The operator's norm, from above by a little, by power iteration from a fixed start."""
    image = operator.adjoint(kspace[:1])
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(image.shape, generator=generator).to(image)
    value = 1.0
    for _ in range(rounds):
        image = operator.adjoint(operator.forward(image))
        value = float(torch.linalg.vector_norm(image))
        if value == 0:
            return 1.0
        image = image / value
    return 1.02 * value**0.5
