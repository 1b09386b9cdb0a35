"""Whether a network has seen the like of an input: its latents beside statistics that are stored with the model.

A slice's latent is pooled to the mean and the standard deviation of each channel. Its distance is that of Mahalanobis
under probabilistic principal components (Tipping & Bishop, J R Stat Soc B 61:611, 1999): the leading axes of the
standardised features with their variances, one variance for all the rest,

    d^2 = (sum_k (u_k . z)^2 / v_k + |z - sum_k u_k (u_k . z)|^2 / v_rest) / n,   z = (f - mean) / scale.

The score is d in units of a limit that 99.5 % of slices held out from the statistics stay below: 1 is the limit.
Networks that see both modalities, the CT alone or the MR alone have other latents: statistics are kept for each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from MSLFusionLib.errors import InputError

QUANTILE = 0.995
"""Share of held-out slices that the limit leaves below."""
TENSORS = ("mean", "scale", "axes", "variances")
_MOST_AXES = 24
_SLICES_PER_AXIS = 6
_SMALLEST_SCALE = 1e-3
"""Of the largest: a channel that hardly varies must not make every slice foreign."""
NOT_STORED = "The model has no statistics stored: whether the input is like what it was trained on is not known."


@dataclass(frozen=True)
class LatentStatistics:
    """What the latents of familiar slices look like, for one set of modalities.

    mean, scale: of each of n features. axes: leading directions (k, n) of standardised features; variances: theirs,
    and last that of all other directions, (k + 1,). limit: distance that QUANTILE of held-out slices stay below.
    """

    mean: np.ndarray
    scale: np.ndarray
    axes: np.ndarray
    variances: np.ndarray
    limit: float = 1.0

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Distances (slices,) of pooled latents (slices, n) in units of the limit; infinite for what is no number."""
        z = (features - self.mean) / self.scale
        along = z @ self.axes.T
        rest = np.maximum((z**2).sum(1) - (along**2).sum(1), 0.0)
        squared = ((along**2 / self.variances[:-1]).sum(1) + rest / self.variances[-1]) / len(self.mean)
        return np.nan_to_num(np.sqrt(squared) / self.limit, nan=np.inf, posinf=np.inf)

    def tensors(self) -> dict[str, Tensor]:
        """What a model's file stores beside the limit; rounded to what `of_tensors` reads again."""
        kinds = {"axes": torch.float16}
        return {
            name: torch.from_numpy(np.asarray(getattr(self, name))).to(kinds.get(name, torch.float32))
            for name in TENSORS
        }

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor], limit: float) -> "LatentStatistics":
        """The statistics that `tensors` stored; raises InputError when they do not fit together."""
        try:
            mean, scale, axes, variances = (tensors[name].double().numpy() for name in TENSORS)
        except KeyError as error:
            raise InputError(f"The model's statistics are damaged: {error} is missing.") from None
        shapes = mean.shape == scale.shape == axes.shape[1:] and variances.shape == (len(axes) + 1,)
        finite = all(np.isfinite(part).all() for part in (mean, scale, axes, variances, limit))
        positive = limit > 0 and len(mean) and scale.min() > 0 and variances.min() > 0
        if not (mean.ndim == 1 and shapes and finite and positive):
            raise InputError("The model's statistics are damaged: make them again (mslfusion models statistics).")
        return cls(mean, scale, axes, variances, float(limit))


def pooled(latent: Any) -> np.ndarray | None:
    """Features float64 (slices, n) of a batch's latent; None for a latent that is not built as that of nets.msl."""
    maps = [getattr(latent, "multi", None), *getattr(latent, "skips", ())]
    if any(not isinstance(one, Tensor) for one in maps):
        return None
    parts = [part for one in maps for part in (one.float().mean((2, 3)), one.float().std((2, 3)))]
    return torch.cat(parts, 1).double().cpu().numpy()


def fitted(features: np.ndarray, held_out: np.ndarray) -> LatentStatistics:
    """The statistics of familiar slices (slices, n), with a limit from others that are familiar too.

    Raises InputError for fewer than 16 slices of either kind.
    """
    if min(len(features), len(held_out)) < 16:
        raise InputError("Statistics need at least 16 slices to learn from and 16 more to set the limit by.")
    scale = features.std(0)
    scale = np.maximum(scale, _SMALLEST_SCALE * max(float(scale.max()), 1e-12))
    mean = features.mean(0)
    _, spread, axes = np.linalg.svd((features - mean) / scale, full_matrices=False)
    variances = spread**2 / (len(features) - 1)
    kept = min(_MOST_AXES, len(features) // _SLICES_PER_AXIS, len(variances) - 1)
    rest = max(float(variances[kept:].sum()) / max(1, len(mean) - kept), 1e-6)
    raw = LatentStatistics(mean, scale, axes[:kept], np.append(np.maximum(variances[:kept], rest), rest))
    # As they come back from a file, so that the limit is that of what is stored.
    raw = LatentStatistics.of_tensors(raw.tensors(), 1.0)
    limit = float(np.quantile(raw.scores(held_out), QUANTILE))
    return LatentStatistics(raw.mean, raw.scale, raw.axes, raw.variances, limit)


def set_name(modalities: Sequence[str]) -> str:
    """The name of a set of modalities in cards and files: "ct+mr", "ct" or "mr"."""
    return "+".join(name for name in ("ct", "mr") if name in modalities)


def statistics_of(tensors: Mapping[str, Tensor], card: Any) -> dict[str, LatentStatistics]:
    """The statistics of a model's file by set of modalities: tensors "SET.NAME", and limits in the card's table.

    Raises InputError where the two do not fit.
    """
    limits = card.get("limits") if isinstance(card, Mapping) else None
    if not isinstance(limits, Mapping):
        return {}
    found = {}
    for name, limit in limits.items():
        if isinstance(limit, bool) or not isinstance(limit, int | float):
            raise InputError("The model's statistics are damaged: a limit is no number.")
        own = {key: tensors[f"{name}.{key}"] for key in TENSORS if f"{name}.{key}" in tensors}
        found[str(name)] = LatentStatistics.of_tensors(own, limit)
    return found


@dataclass(frozen=True)
class Verdict:
    """How familiar an input is. score: the median of its slices, 1 is the limit; None without statistics.

    beyond: share of slices above the limit; slices: how many were judged; worst: number of the least familiar one.
    """

    score: float | None = None
    beyond: float = 0.0
    slices: int = 0
    worst: int | None = None

    @property
    def unfamiliar(self) -> bool:
        """Whether there is reason to warn."""
        return self.score is not None and self.score > 1.0

    @property
    def sentence(self) -> str:
        """What a reader should know, in one or two sentences."""
        if self.score is None:
            return NOT_STORED
        if not self.unfamiliar:
            return (
                f"The input looks like what the model was trained on: out-of-distribution score {self.score:.2f}, "
                + (f"the limit is 1 ({100 * self.beyond:.0f} % of {self.slices} slices lie beyond it).")
            )
        return (
            "The input does not look like what the model was trained on: out-of-distribution score "
            f"{self.score:.2f}, the limit is 1 ({100 * self.beyond:.0f} % of {self.slices} slices lie beyond it). "
            "What was not measured may be wrong in ways that no map shows."
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, for run records and the worker's answers."""
        score = None if self.score is None else min(round(self.score, 4), 1e6)
        return {
            "score": score,
            "limit": 1.0,
            "unfamiliar": self.unfamiliar,
            "slices_beyond": round(self.beyond, 4),
            "slices": self.slices,
            "least_familiar_slice": self.worst,
            "sentence": self.sentence,
        }


class Judge:
    """Collects the scores of an input's slices, batch by batch; statistics: None where the model has none."""

    def __init__(self, statistics: LatentStatistics | None) -> None:
        self._statistics = statistics
        self._scores: dict[int, float] = {}

    def see(self, numbers: Sequence[int], latent: Any) -> None:
        """The latent of the slices with these numbers."""
        features = None if self._statistics is None else pooled(latent)
        if features is not None and self._statistics is not None and features.shape[1] == len(self._statistics.mean):
            self._scores |= zip(map(int, numbers), self._statistics.scores(features).tolist(), strict=True)

    def verdict(self) -> Verdict:
        """What all slices seen so far say together."""
        if not self._scores:
            return Verdict()
        scores = np.array(list(self._scores.values()))
        worst = max(self._scores, key=lambda number: self._scores[number])
        return Verdict(float(np.median(scores)), float((scores > 1).mean()), len(scores), worst)
