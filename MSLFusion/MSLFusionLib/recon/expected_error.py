"""The error to expect in each pixel, from all that is at hand when a slice has been reconstructed.

    log u = log u_0 + N(features),

with u_0 of the closed formula (recon.error_model) and N a small perceptron that looks at each pixel by itself, but sees
what it is part of: images, steps and variation around it at a few scales, soft tissues of the CT in a narrow window,
the depth in the body, the spread, how far data consistency moved the network's image, and what is left of the sensor
image. There is one N for each image and each set of modalities that it is made from; it learns as the formula does,
see recon.error_lessons. A model without them has u_0, one without either has no expected errors.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from MSLFusionLib.errors import InputError
from MSLFusionLib.recon.devices import reproducible
from MSLFusionLib.recon.error_model import ErrorModel, blurred, stored
from MSLFusionLib.recon.familiarity import set_name

IMAGES = ("ct", "mr")
PREFIX = "expected_error."
"""Begins the names of its tensors among a model's statistics."""
FEATURES = 40
WIDTH = 16
_SOFT = 0.3328, 0.016
"""Middle and half width of the range of CT in which soft tissues differ: 40 HU, and 50 HU to either side."""
_BODY = 0.05
_LEAST = 1e-3
_LOWEST = 1e-6
_FAR = 4.0
"""Features are cut at so many standard deviations of those that were learned from."""
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


def features(evidence: Evidence) -> Tensor:
    """What N sees, (n, FEATURES, H, W)."""
    ct, mr = (evidence.delivered[name] for name in IMAGES)
    soft = ((ct - _SOFT[0]) / _SOFT[1]).clamp(-2.0, 2.0)
    planes = [soft, blurred(soft, 1.0), blurred(soft, 2.0), _log(_variation(soft) * 0.1)]
    body = ((ct > _BODY) | (mr > _BODY)).to(ct.dtype)
    planes += [blurred(body, 4.0), blurred(body, 10.0)]
    for name, image in zip(IMAGES, (ct, mr), strict=True):
        down, right = _steps(blurred(image, 0.7))
        planes += [image, blurred(image, 1.0), blurred(image, 3.0), _log(_variation(image))]
        planes += [_log(down), _log(right), _log(blurred(right, 3.0)), 5.0 * (image - blurred(image, 1.5))]
        planes += [_log(blurred(evidence.variance[name], sigma).sqrt()) for sigma in (1.0, 3.0)]
        planes += _distances(evidence.network[name], image)
        sensor = evidence.sensors[name]
        planes += [torch.zeros_like(image)] * 2 if sensor is None else _distances(sensor, image)
        planes.append((evidence.network[name] - image).clamp(-0.2, 0.2) * 5.0)
        planes.append(torch.zeros_like(image) if sensor is None else (sensor - image).clamp(-0.2, 0.2) * 5.0)
        planes.append(_log(blurred(down, 3.0)))
    return torch.cat(planes, 1)


class ErrorNet(nn.Module):
    """N of the module for one image and one set of modalities; zero before it has learned.

    centre, scale: of each feature, where it learns.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(FEATURES))
        self.register_buffer("scale", torch.ones(FEATURES))
        self.layers = nn.Sequential(nn.Linear(FEATURES, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU())
        self.last = nn.Linear(WIDTH, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, samples: Tensor) -> Tensor:
        """What is added to log u_0, (m,), from features (m, FEATURES)."""
        found: Tensor = self.last(self.layers(((samples - self.centre) / self.scale).clamp(-_FAR, _FAR)))
        return found[:, 0]


@dataclass(frozen=True)
class ExpectedErrors:
    """formulas, networks: by set of modalities and image; networks may lack."""

    formulas: Mapping[tuple[str, str], ErrorModel] = field(default_factory=dict)
    networks: Mapping[tuple[str, str], ErrorNet] = field(default_factory=dict)

    def of(self, evidence: Evidence) -> dict[str, Tensor]:
        """u (n, 1, H, W) in [0, 1] of each image whose error is known of."""
        name = set_name(evidence.seen)
        found = {image: self._formula(evidence, image) for image in IMAGES if (name, image) in self.formulas}
        networks = {image: self.networks[name, image] for image in found if (name, image) in self.networks}
        if networks:
            with reproducible():
                planes = features(evidence)
                samples = planes.movedim(1, -1).flatten(0, -2)
                for image, network in networks.items():
                    added = network(samples).reshape(found[image].shape)
                    found[image] = (found[image].clamp_min(_LOWEST) * added.exp()).clamp(0.0, 1.0)
        return found

    def _formula(self, evidence: Evidence, name: str) -> Tensor:
        model = self.formulas[set_name(evidence.seen), name]
        return model.expected(evidence.variance[name], evidence.delivered["ct"], evidence.delivered["mr"])

    def to(self, device: torch.device) -> "ExpectedErrors":
        """The same on a device."""
        return ExpectedErrors(self.formulas, {key: network.to(device) for key, network in self.networks.items()})

    def tensors(self) -> dict[str, Tensor]:
        """What a model's file stores of the networks."""
        return {
            f"{PREFIX}{seen}.{image}.{key}": value.detach().cpu()
            for (seen, image), network in self.networks.items()
            for key, value in network.state_dict().items()
        }

    def table(self) -> dict[str, Any]:
        """What the card tells of them, beside `tensors`."""
        errors: dict[str, dict[str, list[float]]] = {}
        for (seen, name), model in self.formulas.items():
            errors.setdefault(seen, {})[name] = model.to_list()
        named = sorted(f"{seen}.{image}" for seen, image in self.networks)
        return {"errors": errors} | ({"error_networks": named} if named else {})

    @classmethod
    def stored(cls, tensors: Mapping[str, Tensor], card: Any) -> "ExpectedErrors":
        """From a model's statistics: their tensors, and the card's table. Raises InputError for damaged ones."""
        table = card if isinstance(card, dict) else {}
        names = table.get("error_networks", [])
        if not isinstance(names, list) or not all(isinstance(one, str) and one.count(".") == 1 for one in names):
            raise InputError(_DAMAGED)
        networks = {}
        for one in names:
            seen, image = one.split(".")
            begin = f"{PREFIX}{one}."
            own = {key.removeprefix(begin): value.float() for key, value in tensors.items() if key.startswith(begin)}
            network = ErrorNet().eval().requires_grad_(False)
            try:
                network.load_state_dict(own)
            except RuntimeError:
                raise InputError(_DAMAGED) from None
            if not all(bool(torch.isfinite(value).all()) for value in own.values()) or float(network.scale.min()) <= 0:
                raise InputError(_DAMAGED)
            networks[seen, image] = network
        return cls(stored(table.get("errors")), networks)


def _log(values: Tensor) -> Tensor:
    """Logarithms of values of 0 or more, around 0."""
    return ((values + _LEAST).log() + 5.0) / 2.0


def _variation(image: Tensor) -> Tensor:
    """Standard deviation around each pixel."""
    return (blurred(image.square(), 2.0) - blurred(image, 2.0).square()).clamp_min(0.0).sqrt()


def _steps(image: Tensor) -> tuple[Tensor, Tensor]:
    """How much neighbours differ, down and to the right."""
    down, right = torch.zeros_like(image), torch.zeros_like(image)
    down[..., 1:-1, :] = 0.5 * (image[..., 2:, :] - image[..., :-2, :])
    right[..., 1:-1] = 0.5 * (image[..., 2:] - image[..., :-2])
    return down.abs(), right.abs()


def _distances(first: Tensor, second: Tensor) -> list[Tensor]:
    """How far two images are apart, in the pixel and around it."""
    apart = first - second
    return [_log(apart.abs()), _log(blurred(apart.square(), 2.0).sqrt())]
