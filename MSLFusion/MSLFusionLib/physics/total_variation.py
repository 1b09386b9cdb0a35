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
    weight: float,
    iterations: int = 200,
    non_negative: bool = True,
    initial: Tensor | None = None,
    job: Job = NO_JOB,
) -> Tensor:
    """Image (N, 1, H, W) in image units of a sinogram (N, 1, views, bins) of any angles.

    weight: of the total variation, relative (see the module); 0 is least squares. initial: where to start, zero by
    default. Raises InputError for a weight or number of iterations that is not possible, Cancelled.
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
    weight: float,
    iterations: int = 100,
    initial: Tensor | None = None,
    job: Job = NO_JOB,
) -> Tensor:
    """Complex image (N, 1, H, W) of k-space (N, coils, ky, kx); several coils need the operator's coil maps.

    weight, initial, errors: as for `tv_ct`.
    """
    norm = _largest(operator, kspace)
    scale = norm / 8**0.5
    step = 0.99 / (2**0.5 * norm)
    steps = _Steps(step, step, step, scale)
    return _primal_dual(operator.forward, operator.adjoint, kspace, weight, iterations, steps, False, initial, job)


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
    weight: float,
    iterations: int,
    steps: _Steps,
    non_negative: bool,
    initial: Tensor | None,
    job: Job,
) -> Tensor:
    if iterations < 1:
        raise InputError(f"An iterative reconstruction needs at least one iteration, not {iterations}.")
    if not 0 <= weight < float("inf"):
        raise InputError(f"The weight of the total variation must be 0 or more, not {weight:g}.")
    back = adjoint(data)
    radius = weight * back.abs().amax(dim=(1, 2, 3), keepdim=True) / steps.scale
    image = torch.zeros_like(back) if initial is None else initial.to(back)
    ahead = image
    dual, across = torch.zeros_like(data), torch.zeros_like(torch.stack((image, image)))
    for done in range(iterations):
        job.step(_STAGE, done, iterations)
        dual = (dual + steps.data * (forward(ahead) - data)) / (1 + steps.data)
        across = across + (steps.gradient * steps.scale) * gradient(ahead)
        length = (across.abs().square().sum(dim=0)).sqrt()
        across = across * torch.where(length > radius, radius / length.clamp(min=1e-30), 1.0)
        previous = image
        image = image - steps.image * (adjoint(dual) - steps.scale * divergence(across))
        if non_negative:
            image = image.clamp(min=0)
        ahead = 2 * image - previous
    job.step(_STAGE, iterations, iterations)
    return image


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
