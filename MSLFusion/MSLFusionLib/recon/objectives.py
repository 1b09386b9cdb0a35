"""What a lambda map is optimised for: named objectives, and functions of the user's own.

An objective is made for one slice, from the images of lambda 0 and 1 as the user gets them and the weight of each
pixel; it then tells how good a hybrid of that slice is. Larger is better.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import cast

from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.recon.information import Histogram

Criterion = Callable[[Tensor], Tensor]
"""How good a hybrid (H, W) in [0, 1] is: a tensor of one number, differentiable."""
Objective = Callable[[Tensor, Tensor, Tensor], Criterion]
"""Makes the criterion of a slice from its CT (lambda 0), MR (lambda 1) and weights, each (H, W).

Weights are 0 outside the body and sum to 1.
"""
OwnFunction = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""A function of the user's: (hybrid, ct, mr, weight), each float32 (H, W), to a tensor of one number."""


def mutual_information(ct: Tensor, mr: Tensor, weight: Tensor) -> Criterion:
    """1/2 I(X, X_CT) + 1/2 I(X, X_MR) in nats (equation 12), of the pixels with a weight, 64 bins over [0, 1]."""
    inside = weight.flatten().nonzero()[:, 0]
    counts = weight.flatten()[inside]
    first, second = (Histogram(image.flatten()[inside], counts) for image in (ct, mr))

    def criterion(hybrid: Tensor) -> Tensor:
        own = Histogram(hybrid.flatten()[inside], counts)
        return 0.5 * (own.mutual_information(first) + own.mutual_information(second))

    return criterion


def hybrid_entropy(_ct: Tensor, _mr: Tensor, weight: Tensor) -> Criterion:
    """The entropy of the hybrid in nats, of the pixels with a weight, 64 bins over [0, 1]."""
    inside = weight.flatten().nonzero()[:, 0]
    counts = weight.flatten()[inside]
    return lambda hybrid: Histogram(hybrid.flatten()[inside], counts).entropy()


OBJECTIVES: dict[str, Objective] = {
    "mutual-information": mutual_information,
    "entropy": hybrid_entropy,
}
"""The named objectives."""


def named(name: str) -> Objective:
    """The objective called `name`; raises InputError when there is none."""
    if name not in OBJECTIVES:
        raise InputError(f"There is no objective '{name}': use one of {', '.join(OBJECTIVES)}.")
    return OBJECTIVES[name]


def own(function: OwnFunction) -> Objective:
    """An objective from a function of the user's; what it gives is checked each time it is called."""

    def objective(ct: Tensor, mr: Tensor, weight: Tensor) -> Criterion:
        def criterion(hybrid: Tensor) -> Tensor:
            try:
                value = function(hybrid, ct, mr, weight)
            except Exception as error:
                raise InputError(f"The objective's function failed: {type(error).__name__}: {error}.") from error
            if not isinstance(value, Tensor) or value.numel() != 1 or not value.is_floating_point():
                raise InputError("The objective's function must return a tensor of one number.")
            if hybrid.requires_grad and not value.requires_grad:
                raise InputError("The objective's function must be differentiable in the hybrid: it gives no gradient.")
            return value.reshape(())

        return criterion

    return objective


def load_function(text: str) -> OwnFunction:
    """The function named by "FILE.py:function". This runs the code of the file: call it for trusted files only.

    Raises InputError when the file or the function is not there, or the file fails while it is run.
    """
    name, colon, function = text.rpartition(":")
    path = Path(name)
    if not colon or not function or path.suffix != ".py":
        raise InputError(f"'{text}' names no function: write FILE.py:function.")
    if not path.is_file():
        raise InputError(f"The file {path} does not exist.")
    spec = importlib.util.spec_from_file_location(f"mslfusion_objective_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"The file {path} cannot be read as Python.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"The file {path} failed while it was run: {type(error).__name__}: {error}.") from error
    found = getattr(module, function, None)
    if not callable(found):
        raise InputError(f"The file {path} has no function '{function}'.")
    return cast(OwnFunction, found)
