"""Iterative CT reconstruction for scans of any angles: SIRT and CGLS, batched and differentiable."""

import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.ct import CTOperator
from MSLFusionLib.progress import NO_JOB, Job


def sirt(
    operator: CTOperator,
    sinogram: Tensor,
    iterations: int,
    initial: Tensor | None = None,
    non_negative: bool = False,
    job: Job = NO_JOB,
) -> Tensor:
    """Simultaneous iterative reconstruction (Gilbert, J Theor Biol 36:105, 1972): (N, 1, H, W) in image units.

    x <- x + C A^T R (y - A x) with the inverse row sums R and column sums C of A; starts from `initial` or zero.
    sinogram: (N, 1, views, bins). non_negative: clip below zero after each step.
    """
    _check_iterations(iterations)
    height, width = operator.geometry.image_shape
    ones = sinogram.new_ones((1, 1, height, width), dtype=torch.float32)
    rows = _inverse(operator.forward(ones))
    columns = _inverse(operator.adjoint(torch.ones_like(rows)))
    image = ones.new_zeros((sinogram.shape[0], 1, height, width)) if initial is None else initial
    for done in range(iterations):
        job.step("SIRT", done, iterations)
        image = image + columns * operator.adjoint(rows * (sinogram - operator.forward(image)))
        if non_negative:
            image = image.clamp(min=0)
    job.step("SIRT", iterations, iterations)
    return image


def cgls(operator: CTOperator, sinogram: Tensor, iterations: int, job: Job = NO_JOB) -> Tensor:
    """Conjugate gradients on the normal equations (Hestenes & Stiefel 1952), from zero, each slice on its own.

    (N, 1, views, bins) -> (N, 1, H, W) in image units. Stopping early regularises: noise comes in late.
    """
    _check_iterations(iterations)
    residual = sinogram.to(torch.float32)
    gradient = operator.adjoint(residual)
    image = torch.zeros_like(gradient)
    direction, power = gradient, _power(gradient)
    for done in range(iterations):
        job.step("CGLS", done, iterations)
        projected = operator.forward(direction)
        # A slice that has converged (or is empty) has no direction left: its steps become zero.
        step = _ratio(power, _power(projected))
        image = image + step * direction
        residual = residual - step * projected
        gradient = operator.adjoint(residual)
        previous, power = power, _power(gradient)
        direction = gradient + _ratio(power, previous) * direction
    job.step("CGLS", iterations, iterations)
    return image


def _check_iterations(iterations: int) -> None:
    if iterations < 1:
        raise InputError(f"An iterative reconstruction needs at least one iteration, not {iterations}.")


def _inverse(sums: Tensor) -> Tensor:
    return torch.where(sums > 0, 1 / sums.clamp(min=torch.finfo(sums.dtype).tiny), 0)


def _power(tensor: Tensor) -> Tensor:
    return tensor.square().sum(dim=(1, 2, 3), keepdim=True)


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    safe = torch.where(denominator > 0, denominator, torch.ones_like(denominator))
    return torch.where(denominator > 0, numerator / safe, 0)
