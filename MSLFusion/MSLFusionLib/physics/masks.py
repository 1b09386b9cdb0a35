"""Which phase-encoding columns, or which points, of k-space a Cartesian MR scan measures.

Columns are counted along the last axis of k-space (kx index) with zero frequency at index width // 2, as
`fftshift` puts it. Facts on the masks of the MSL authors: see `OFFICIAL_SEED`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from MSLFusionLib.errors import InputError

KINDS = ("random", "equispaced", "official")

OFFICIAL_SEED = 1337
"""Seed of the one mask that the MSL authors use for every slice (Zhu et al., TPAMI 2024, public code)."""

OFFICIAL_CENTRE_FRACTION = 0.10

CENTRE_SHARE = 0.32
"""Our centre fraction is this share of the measured columns: 0.08 of all at acceleration 4, 0.04 at 8."""


@dataclass(frozen=True, eq=False)
class SamplingMask:
    """The measured columns of k-space and how they were chosen.

    columns: bool (width,), True where measured; at least one. `kind` is one of KINDS or "given" for columns
    that came with measured data. `acceleration` is what was asked for; `achieved_acceleration` what came out.
    Raises InputError when the columns are no mask.
    """

    columns: np.ndarray
    kind: str = "given"
    acceleration: float = 1.0
    seed: int = 0
    centre_fraction: float = 0.0

    def __post_init__(self) -> None:
        columns = np.array(self.columns, dtype=bool)
        if columns.ndim != 1 or not columns.any():
            raise InputError("A sampling mask needs one row of columns with at least one of them measured.")
        columns.setflags(write=False)
        object.__setattr__(self, "columns", columns)

    @property
    def pattern(self) -> np.ndarray:
        """What multiplies k-space (..., ky, kx): bool (kx,)."""
        return self.columns

    @property
    def width(self) -> int:
        """Number of columns of the full k-space."""
        return int(self.columns.size)

    @property
    def kept(self) -> int:
        """Number of measured columns."""
        return int(np.count_nonzero(self.columns))

    @property
    def achieved_rate(self) -> float:
        """Measured share of all columns, in (0, 1]."""
        return self.kept / self.width

    @property
    def achieved_acceleration(self) -> float:
        """1 / achieved_rate, at least 1."""
        return self.width / self.kept

    def to_dict(self) -> dict[str, Any]:
        """A description that JSON can hold; `from_dict` gives the mask back."""
        return {
            "width": self.width,
            "columns": np.flatnonzero(self.columns).tolist(),
            "kind": self.kind,
            "acceleration": self.acceleration,
            "seed": self.seed,
            "centre_fraction": self.centre_fraction,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SamplingMask":
        """The mask that `to_dict` described; raises InputError when the description is damaged."""
        try:
            width = int(values["width"])
            kept = np.asarray(values["columns"], dtype=np.int64).reshape(-1)
            kind, seed = str(values["kind"]), int(values["seed"])
            acceleration, fraction = float(values["acceleration"]), float(values["centre_fraction"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"The description of the sampling mask is damaged ({error!r}).") from error
        if not 1 <= width <= 65536 or kept.size == 0 or kept.min() < 0 or kept.max() >= width:
            raise InputError(f"The sampling mask names columns outside its width of {width}.")
        columns = np.zeros(width, dtype=bool)
        columns[kept] = True
        return cls(columns, kind, acceleration, seed, fraction)


@dataclass(frozen=True, eq=False)
class PointMask:
    """Measured points of k-space that are not whole columns: `pattern` bool (ky, kx), at least one of them True.

    Raises InputError when the pattern is no mask.
    """

    pattern: np.ndarray

    def __post_init__(self) -> None:
        pattern = np.array(self.pattern, dtype=bool)
        if pattern.ndim != 2 or not pattern.any():
            raise InputError("A mask of points needs rows and columns with at least one point measured.")
        pattern.setflags(write=False)
        object.__setattr__(self, "pattern", pattern)

    kind = "points"

    @property
    def width(self) -> int:
        """Number of columns of the full k-space."""
        return int(self.pattern.shape[1])

    @property
    def kept(self) -> int:
        """Number of columns with a measured point."""
        return int(np.count_nonzero(self.pattern.any(axis=0)))

    @property
    def achieved_rate(self) -> float:
        """Measured share of all points, in (0, 1]."""
        return float(self.pattern.mean())

    @property
    def achieved_acceleration(self) -> float:
        """1 / achieved_rate, at least 1."""
        return 1.0 / self.achieved_rate

    @property
    def acceleration(self) -> float:
        """As achieved: nobody asked for another one."""
        return self.achieved_acceleration

    def to_dict(self) -> dict[str, Any]:
        """A description that JSON can hold, each row as a hexadecimal number; `mask_from_dict` gives the mask back."""
        rows = [np.packbits(row).tobytes().hex() for row in self.pattern]
        return {"kind": self.kind, "width": self.width, "points": rows}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PointMask":
        """The mask that `to_dict` described; raises InputError when the description is damaged."""
        try:
            width, rows = int(values["width"]), [bytes.fromhex(row) for row in values["points"]]
            if not 1 <= width <= 65536 or not 1 <= len(rows) <= 65536 or len({len(row) for row in rows}) != 1:
                raise ValueError("its rows do not fit its width")
            packed = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -1)
            if packed.shape[1] != (width + 7) // 8:
                raise ValueError("its rows do not fit its width")
            return cls(np.unpackbits(packed, axis=1, count=width))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"The description of the sampling mask is damaged ({error!r}).") from error


def mask_of(measured: np.ndarray) -> "SamplingMask | PointMask":
    """The mask of measured points, bool (ky, kx): of columns where each is measured in full or not at all."""
    pattern = np.asarray(measured, dtype=bool)
    rows = pattern.any(axis=1)
    if pattern.any() and rows.all() and (pattern == pattern[0]).all():
        columns = pattern[0]
        return SamplingMask(columns, "given", columns.size / np.count_nonzero(columns))
    return PointMask(pattern)


def mask_from_dict(values: Mapping[str, Any]) -> "SamplingMask | PointMask":
    """The mask of columns or points that its `to_dict` described; raises InputError when it is damaged."""
    return PointMask.from_dict(values) if values.get("kind") == PointMask.kind else SamplingMask.from_dict(values)


def cartesian_mask(
    width: int,
    acceleration: float,
    kind: str = "random",
    seed: int = 0,
    centre_fraction: float | None = None,
) -> SamplingMask:
    """Columns to measure for an acceleration R: about width / R of them, always with a fully measured centre.

    random: the centre plus columns drawn without replacement, round(width / R) in all.
    equispaced: the centre plus evenly spaced columns at a seeded offset, round(width / R) in all.
    official: the authors' mask: centre plus independent draws, always with OFFICIAL_SEED (`seed` is not used).
        Its achieved rate differs from 1/R: of 384 columns 92, 50 and 38 are kept at 4, 8 and 16; at 16 the
        centre alone is more than asked for.
    centre_fraction: share of all columns measured in the centre; default CENTRE_SHARE / R (official: 0.10).

    Raises InputError for an unknown kind and for requests that cannot be met: R below 1 or above the width,
    a centre fraction outside (0, 1], a centre wider than round(width / R).
    """
    if kind not in KINDS:
        raise InputError(f"Unknown k-space mask '{kind}': choose one of {', '.join(KINDS)}.")
    if width < 1:
        raise InputError(f"A k-space width of {width} columns cannot be sampled.")
    if not math.isfinite(acceleration) or not 1.0 <= acceleration <= width:
        raise InputError(f"Acceleration {acceleration:g} is impossible for {width} k-space columns: give 1 to {width}.")
    if centre_fraction is None:
        centre_fraction = OFFICIAL_CENTRE_FRACTION if kind == "official" else CENTRE_SHARE / acceleration
    if not 0.0 < centre_fraction <= 1.0:
        raise InputError(f"Centre fraction {centre_fraction:g} is outside (0, 1].")
    centre = max(1, round(width * centre_fraction))
    first = (width - centre + 1) // 2  # zero frequency, width // 2, is inside for every width and centre
    if kind == "official":
        seed = OFFICIAL_SEED
        columns = _official_draws(width, acceleration, centre)
        columns[first : first + centre] = True
        return SamplingMask(columns, kind, float(acceleration), seed, centre_fraction)
    wanted = round(width / acceleration)
    if centre > wanted:
        raise InputError(
            f"Acceleration {acceleration:g} allows {wanted} of {width} columns, but a centre fraction of "
            f"{centre_fraction:g} alone takes {centre}: lower one of the two."
        )
    columns = np.zeros(width, dtype=bool)
    columns[first : first + centre] = True
    outer, missing = np.flatnonzero(~columns), wanted - centre
    rng = np.random.default_rng(seed)
    if kind == "random":
        columns[rng.choice(outer, size=missing, replace=False)] = True
    elif missing > 0:
        steps = (np.arange(missing) + rng.random()) * (outer.size / missing)
        columns[outer[np.minimum(steps.astype(np.int64), outer.size - 1)]] = True
    return SamplingMask(columns, kind, float(acceleration), int(seed), centre_fraction)


def _official_draws(width: int, acceleration: float, centre: int) -> np.ndarray:
    """One independent draw per column with the probability that would make width / acceleration in all.

    The probability is negative, and nothing is drawn, when the centre alone is more than that.
    """
    outer = width - centre
    probability = (width / acceleration - centre) / outer if outer else 1.0
    # Mersenne Twister, as the authors use; its seed is fixed, so the mask is a constant of the width
    return np.random.RandomState(OFFICIAL_SEED).uniform(size=width) < probability
