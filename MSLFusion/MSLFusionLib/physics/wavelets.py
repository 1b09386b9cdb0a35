"""Wavelet reconstruction of undersampled MR: an orthogonal transform, and FISTA with it.

Minimises 1/2 |A x - y|^2 + a |W x|_1 over the details of the transform W (Lustig, Donoho & Pauly, Magn Reson Med
58:1182, 2007) by the method of Beck & Teboulle (SIAM J Imaging Sci 2:183, 2009). W is moved by a pixel or more from
step to step, so that no grid of blocks shows. The weight a is relative to the largest value of |A^H y|.
"""

import numpy as np
import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.mr import CartesianMR
from MSLFusionLib.progress import NO_JOB, Job

LEVELS = 4
_STAGE = "wavelets"
_LOW = (
    0.23037781330885523, 0.7148465705525415, 0.6308807679295904, -0.02798376941698385,
    -0.18703481171888114, 0.030841381835986965, 0.032883011666982945, -0.010597401784997278,
)  # fmt: skip
"""Daubechies' orthogonal filter with four vanishing moments (Ten Lectures on Wavelets, 1992, table 6.1)."""
_HIGH = tuple((-1) ** n * value for n, value in enumerate(reversed(_LOW)))


def wavelet_mr(
    operator: CartesianMR,
    kspace: Tensor,
    weight: float | Tensor,
    iterations: int = 200,
    non_negative: bool = False,
    job: Job = NO_JOB,
) -> Tensor:
    """Complex image (N, 1, H, W) of k-space (N, coils, ky, kx); several coils need the operator's coil maps.

    weight: one for all or for each slice (N,). non_negative: of an object without phase, real and not negative; then
    the image is. Raises InputError for a weight or number of iterations that is not possible, and for slices whose
    sides are odd, Cancelled.
    """
    if iterations < 1:
        raise InputError(f"An iterative reconstruction needs at least one iteration, not {iterations}.")
    weights = torch.as_tensor(weight, dtype=torch.float32, device=kspace.device).reshape(-1, 1, 1, 1)
    if not bool(((weights >= 0) & (weights < float("inf"))).all()):
        raise InputError(f"The weight of the wavelets must be 0 or more, not {weight}.")
    with torch.no_grad():
        back = operator.adjoint(kspace)
        back = back.real if non_negative else back
        levels = levels_of(back.shape[-2:])
        scale = _power(operator, back)
        threshold = weights * back.abs().amax(dim=(1, 2, 3), keepdim=True) / scale
        shifts = np.random.default_rng(0).integers(0, 2**levels, (iterations, 2)).tolist()
        image = ahead = back / scale
        momentum = 1.0
        for done, shift in enumerate(shifts):
            job.step(_STAGE, done, iterations)
            step = operator.adjoint(operator.forward(ahead))
            step = ahead - ((step.real if non_negative else step) - back) / scale
            moved = torch.roll(_shrunk(torch.roll(step, shift, (-2, -1)), threshold, levels), [-s for s in shift],
                               (-2, -1))  # fmt: skip
            if non_negative:
                moved = moved.clamp(min=0)
            following = (1.0 + (1.0 + 4.0 * momentum**2) ** 0.5) / 2.0
            ahead = moved + (momentum - 1.0) / following * (moved - image)
            image, momentum = moved, following
    job.step(_STAGE, iterations, iterations)
    return image


def levels_of(shape: "tuple[int, ...] | torch.Size") -> int:
    """How often both sides can be halved, at most LEVELS; InputError for odd ones."""
    levels = 0
    while levels < LEVELS and all(side % 2 ** (levels + 1) == 0 for side in shape):
        levels += 1
    if levels == 0:
        raise InputError(f"Wavelets need slices with even sides, not {' x '.join(map(str, shape))}.")
    return levels


def decompose(image: Tensor, levels: int) -> Tensor:
    """The coefficients (..., H, W) of images (..., H, W): the coarse image in the first corner, details around it.

    Orthogonal, with periodic edges; the sides must be multiples of 2**levels.
    """
    result = image.clone()
    for level in range(levels):
        part = result[..., : image.shape[-2] >> level, : image.shape[-1] >> level]
        part.copy_(_split(_split(part).transpose(-2, -1)).transpose(-2, -1))
    return result


def compose(coefficients: Tensor, levels: int) -> Tensor:
    """The images of coefficients: the inverse of `decompose`."""
    result = coefficients.clone()
    for level in reversed(range(levels)):
        part = result[..., : result.shape[-2] >> level, : result.shape[-1] >> level]
        part.copy_(_joined(_joined(part.transpose(-2, -1)).transpose(-2, -1)))
    return result


def _shrunk(image: Tensor, threshold: Tensor, levels: int) -> Tensor:
    """Images whose details are nearer to zero by `threshold`."""
    coefficients = decompose(image, levels)
    coarse = coefficients[..., : image.shape[-2] >> levels, : image.shape[-1] >> levels]
    kept = coarse.clone()
    size = coefficients.abs()
    coefficients.mul_((size - threshold).clamp(min=0) / size.clamp(min=1e-30))
    coarse.copy_(kept)
    return compose(coefficients, levels)


def _split(values: Tensor) -> Tensor:
    """Rows (..., n) as their coarse half and their detail half, side by side."""
    n = values.shape[-1]
    # Repeated as often as filters longer than the row need it.
    wrapped = torch.cat([values] * (1 + -(-len(_LOW) // n)), dim=-1)
    low, high = (
        sum(weight * wrapped[..., k : k + n : 2] for k, weight in enumerate(filter_)) for filter_ in (_LOW, _HIGH)
    )
    return torch.cat([torch.as_tensor(low), torch.as_tensor(high)], dim=-1)


def _joined(values: Tensor) -> Tensor:
    """The inverse, and transpose, of `_split`."""
    n = values.shape[-1]
    low, high = values[..., : n // 2], values[..., n // 2 :]
    result = torch.zeros_like(values)
    for k, (a, b) in enumerate(zip(_LOW, _HIGH, strict=True)):
        # Filter tap k of coefficient i belongs to element 2 i + k, counted around.
        term = torch.roll(a * low + b * high, k // 2, -1)
        result[..., k % 2 :: 2] += term
    return result


def _power(operator: CartesianMR, like: Tensor, rounds: int = 20) -> float:
    """The largest eigenvalue of A^H A, from above by a little; 1 where there is one coil of sensitivity 1."""
    if operator.coil_maps is None and operator.convention == "centred-ortho":
        return 1.0
    image = torch.randn(like.shape, generator=torch.Generator().manual_seed(0)).to(operator.adjoint(
        operator.forward(like)))  # fmt: skip
    value = 1.0
    for _ in range(rounds):
        image = operator.adjoint(operator.forward(image))
        value = float(torch.linalg.vector_norm(image))
        image = image / max(value, 1e-30)
    return 1.04 * value
