"""The error to expect in each pixel, from all that is at hand when a slice has been reconstructed.

    log u = log u_0 + N(...),

with u_0 of the closed formula (recon.error_model), which looks at a pixel and its nearest neighbours, and N of a small
network that also sees what they are part of: the images, their spread, how far data consistency moved the network's
image, what is left of the sensor image, and log u_0 itself. It learns as the formula does, see recon.error_lessons.
A model without such a network has u_0, one without either has no expected errors.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.nets.half_unet import HalfUNet
from MSLFusionLib.recon.devices import reproducible
from MSLFusionLib.recon.error_model import SIGMAS, ErrorModel, blurred, stored
from MSLFusionLib.recon.familiarity import set_name

IMAGES = ("ct", "mr")
PREFIX = "error_network."
"""Begins the names of its tensors among a model's statistics."""
_PLANES = 6
_LEAST = 1e-3
_LOWEST = 1e-6
_DAMAGED = "The model's error network is damaged: make its statistics again (mslfusion models statistics)."


@dataclass(frozen=True)
class Evidence:
    """What is at hand of some slices, by image "ct" and "mr", each (n, 1, H, W) in [0, 1].

    seen: the modalities that the images were made from. delivered: the images as they are given; network: before they
    were corrected. variance: mean squared change of `delivered` when data are left out. sensors: FBP and zero-filled
    images, None where not seen.
    """

    seen: tuple[str, ...]
    delivered: Mapping[str, Tensor]
    network: Mapping[str, Tensor]
    variance: Mapping[str, Tensor]
    sensors: Mapping[str, Tensor | None]


class ErrorNet(HalfUNet):
    """N of the module, for both images at once; zero before it has learned."""

    def __init__(self, width: int) -> None:
        super().__init__(_PLANES * len(IMAGES), len(IMAGES), width)
        self.width = width

    def forward(self, planes: Tensor) -> Tensor:
        """What is added to log u_0, (n, 2, H, W), from `planes_of`."""
        return self.through(planes)


def planes_of(evidence: Evidence, logs: Tensor) -> Tensor:
    """What the network sees, (n, 12, H, W). logs: log u_0 of CT and MR, (n, 2, H, W)."""
    planes = []
    for name, log in zip(IMAGES, logs.split(1, 1), strict=True):
        image, sensor = evidence.delivered[name], evidence.sensors[name]
        away = torch.zeros_like(image) if sensor is None else _scaled((sensor - image).abs())
        planes += [image, _scaled(blurred(evidence.variance[name], SIGMAS[0]).sqrt())]
        planes += [_scaled((evidence.network[name] - image).abs()), away]
        planes += [torch.full_like(image, float(sensor is not None)), (log + 5.0) / 2.0]
    return torch.cat(planes, 1)


@dataclass(frozen=True)
class ExpectedErrors:
    """formulas: by set of modalities and image. network: None for the formulas alone."""

    formulas: Mapping[tuple[str, str], ErrorModel] = field(default_factory=dict)
    network: ErrorNet | None = None

    def calibrated(self, seen: tuple[str, ...], name: str) -> bool:
        """Whether the error of an image made from the modalities seen is known of."""
        return (set_name(seen), name) in self.formulas

    def of(self, evidence: Evidence) -> dict[str, Tensor]:
        """u (n, 1, H, W) in [0, 1] of each image whose error is known of."""
        found = {name: self._formula(evidence, name) for name in IMAGES if self.calibrated(evidence.seen, name)}
        if self.network is None or len(found) < len(IMAGES):
            return found
        logs = logs_of(found)
        with reproducible():
            errors = (logs + self.network(planes_of(evidence, logs))).exp().clamp(0.0, 1.0)
        return dict(zip(IMAGES, errors.split(1, 1), strict=True))

    def _formula(self, evidence: Evidence, name: str) -> Tensor:
        model = self.formulas[set_name(evidence.seen), name]
        return model.expected(evidence.variance[name], evidence.delivered["ct"], evidence.delivered["mr"])

    def to(self, device: torch.device) -> "ExpectedErrors":
        """The same on a device."""
        return ExpectedErrors(self.formulas, None if self.network is None else self.network.to(device))

    def tensors(self) -> dict[str, Tensor]:
        """What a model's file stores of the network, in 16 bits."""
        if self.network is None:
            return {}
        return {PREFIX + key: value.detach().cpu().half() for key, value in self.network.state_dict().items()}

    def table(self) -> dict[str, Any]:
        """What the card tells of them, beside `tensors`."""
        errors: dict[str, dict[str, list[float]]] = {}
        for (seen, name), model in self.formulas.items():
            errors.setdefault(seen, {})[name] = model.to_list()
        return {"errors": errors} | ({} if self.network is None else {"error_network": {"width": self.network.width}})

    @classmethod
    def stored(cls, tensors: Mapping[str, Tensor], card: Any) -> "ExpectedErrors":
        """From a model's statistics: their tensors, and the card's table. Raises InputError for damaged ones."""
        table = card if isinstance(card, dict) else {}
        formulas, about = stored(table.get("errors")), table.get("error_network")
        if about is None:
            return cls(formulas)
        width = about.get("width") if isinstance(about, dict) else None
        if not isinstance(width, int) or not 1 <= width <= 256:
            raise InputError(_DAMAGED)
        network = ErrorNet(width).eval().requires_grad_(False)
        own = {key.removeprefix(PREFIX): value.float() for key, value in tensors.items() if key.startswith(PREFIX)}
        try:
            network.load_state_dict(own)
        except RuntimeError:
            raise InputError(_DAMAGED) from None
        if not all(bool(torch.isfinite(value).all()) for value in own.values()):
            raise InputError(_DAMAGED)
        return cls(formulas, network)


def logs_of(errors: Mapping[str, Tensor]) -> Tensor:
    """Logarithms of CT's and MR's errors, (n, 2, H, W)."""
    return torch.cat([errors[name] for name in IMAGES], 1).clamp_min(_LOWEST).log()


def _scaled(values: Tensor) -> Tensor:
    """Logarithms of values of 0 or more, around 0."""
    return ((values + _LEAST).log() + 5.0) / 2.0
