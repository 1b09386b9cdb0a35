"""The presets of the registration: ours, the paper's and its authors'."""

from dataclasses import dataclass

from MSLFusionLib.errors import InputError

METHODS = ("rigid", "affine")


@dataclass(frozen=True)
class Level:
    """One resolution of our registration.

    grid_mm: voxel edge of the fixed image, smoothed alike with the moving one by half of it. samples: points at
    which the metric is taken. iterations: at most so many line searches.
    """

    grid_mm: float
    samples: int
    iterations: int


@dataclass(frozen=True)
class Preset:
    """Settings of one registration; which fields count depends on `search`.

    search True (ours): robust start, then the resolutions of `levels`, each rigid or, with method "affine", the
    last ones affine. False (published): start from the centres of the two grids, gradient descent on the unchanged
    images with `rate`, `iterations`, a random share `sampling` of the voxels and, over `shrink` and `sigma_mm`,
    a pyramid.
    """

    name: str
    method: str
    bins: int
    search: bool
    levels: tuple[Level, ...] = ()
    sampling: float = 0.0
    rate: float = 0.0
    iterations: int = 0
    shrink: tuple[int, ...] = (1,)
    sigma_mm: tuple[float, ...] = (0.0,)


PRESETS = {
    "msl": Preset(
        name="msl",
        method="rigid",
        bins=48,
        search=True,
        levels=(
            Level(4.0, 30_000, 40),
            Level(2.0, 60_000, 25),
            Level(1.0, 120_000, 10),
        ),
    ),
    # Zhu et al., TPAMI 2024, section 3.1: affine, sampling 0.01, gradient descent of rate 1.0, 100 iterations
    "paper": Preset("paper", "affine", 50, False, sampling=0.01, rate=1.0, iterations=100),
    # The authors' public code: rigid, 100 bins, 200 iterations, pyramid 4/2/1 smoothed by 2/1/0 mm
    "official": Preset("official", "rigid", 100, False, (), 0.01, 1.0, 200, shrink=(4, 2, 1), sigma_mm=(2.0, 1.0, 0.0)),
}


def preset_for(name: str, method: str | None) -> tuple[Preset, str]:
    """The preset of that name and the method to use: the one asked for or, for None, the preset's own.

    Raises InputError for unknown words.
    """
    if name not in PRESETS:
        raise InputError(f"Unknown registration preset '{name}': choose one of {', '.join(PRESETS)}.")
    if method is not None and method not in METHODS:
        raise InputError(f"Unknown registration method '{method}': choose one of {', '.join(METHODS)}.")
    return PRESETS[name], method or PRESETS[name].method
