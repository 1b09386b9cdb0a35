"""The random numbers that make one head: its shape, its thicknesses, its noise fields.

Anatomical coordinates, used by every module that paints: x to the right, y to the front, z up, in mm of
an average adult's stereotaxic space (origin at the anterior commissure). `to_anatomy` takes physical LPS
points into them: the head's size, asymmetry and individual shape are in that mapping.
"""

from dataclasses import asdict, dataclass

import numpy as np

from MSLFusionLib.phantom.canvas import Patch
from MSLFusionLib.phantom.noise import NoiseField, WaveField
from MSLFusionLib.phantom.shapes import Array

CENTRE_Y = -18.0
"""Anatomical y of the head's centre, which lies at the physical origin."""


@dataclass(frozen=True)
class Traits:
    """What is drawn once per head (mm or relative to the average)."""

    scale_x: float
    scale_y: float
    scale_z: float
    skull_mm: float
    table_mm: float
    scalp_mm: float
    fat_mm: float
    atrophy_mm: float
    ventricles: float
    sulcus_depth_mm: float
    fold_mm: float
    cortex_mm: float
    sinus: float
    pneumatisation: float
    nose_mm: float
    ear_deg: float
    jaw: float
    calcified: float
    flow_bright: bool
    amalgam: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Traits":
        """Random traits of a head."""

        def normal(mean: float, spread: float, low: float, high: float) -> float:
            return float(np.clip(mean + spread * rng.standard_normal(), low, high))

        size = normal(0.925, 0.03, 0.86, 0.985)
        age = float(rng.beta(1.4, 2.2))
        return cls(
            scale_x=size * normal(1.0, 0.025, 0.95, 1.05),
            scale_y=size * normal(1.0, 0.025, 0.95, 1.03),
            scale_z=size * normal(1.0, 0.025, 0.95, 1.05),
            skull_mm=normal(6.8, 1.1, 4.5, 9.5),
            table_mm=normal(1.7, 0.25, 1.2, 2.3),
            scalp_mm=normal(6.0, 1.2, 4.0, 9.0),
            fat_mm=normal(3.2, 1.2, 1.2, 7.0),
            atrophy_mm=0.4 + 2.4 * age,
            ventricles=normal(0.85 + 0.55 * age, 0.18, 0.55, 1.8),
            sulcus_depth_mm=normal(17.0, 1.5, 13.0, 21.0),
            fold_mm=normal(18.0, 1.1, 15.5, 21.0),
            cortex_mm=normal(2.8, 0.2, 2.3, 3.3),
            sinus=normal(1.0, 0.18, 0.55, 1.4),
            pneumatisation=normal(0.0, 0.6, -1.2, 1.2),
            nose_mm=normal(11.0, 2.0, 7.0, 16.0),
            ear_deg=normal(20.0, 6.0, 8.0, 35.0),
            jaw=normal(1.0, 0.05, 0.9, 1.1),
            calcified=float(rng.uniform(0.0, 1.0)),
            flow_bright=bool(rng.random() < 0.5),
            amalgam=int(rng.integers(1, 5)),
        )


class BodyPlan:
    """Traits, shape and noise fields of the head that `seed` stands for."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 0x4EAD])
        self.seed = seed
        self.traits = Traits.draw(rng)
        self.tissue_rng = np.random.default_rng([seed, 0x7155])
        self._bend = [WaveField(rng, 110.0) for _ in range(3)]
        self._wobble = [WaveField(rng, 42.0, 9) for _ in range(3)]
        self._skew = rng.normal(0.0, 0.015, 3)
        self.fold = NoiseField(rng, self.traits.fold_mm, bandwidth=0.18, spacing=2.0, n=96, order=3, gradient=True)
        self.mid = NoiseField(rng, 13.0, bandwidth=0.3, spacing=2.0, n=64)
        self.cells = NoiseField(rng, 5.5, bandwidth=0.25, spacing=0.9, n=64)
        self.texture = NoiseField(rng, 3.0, bandwidth=0.45, spacing=0.8, n=64)
        self.broad = WaveField(rng, 60.0, 8)
        self.broad2 = WaveField(rng, 45.0, 8)

    def to_anatomy(self, x: Array, y: Array, z: Array) -> tuple[Array, Array, Array]:
        """Physical LPS mm -> anatomical coordinates of this head (float32)."""
        t = self.traits
        a = -x / t.scale_x
        b = -y / t.scale_y + CENTRE_Y
        c = z / t.scale_z
        a = a + self._skew[0].astype(np.float32) * (b - CENTRE_Y)
        u = 1.6 * self._bend[0](a, b, c) + 0.4 * self._wobble[0](a, b, c)
        v = 1.8 * self._bend[1](a, b, c) + 0.4 * self._wobble[1](a, b, c)
        w = 1.6 * self._bend[2](a, b, c) + 0.4 * self._wobble[2](a, b, c)
        return a + u, b + v, c + w

    def describe(self) -> dict[str, object]:
        """The traits as JSON-able numbers, for run.json."""
        return {"seed": self.seed, **asdict(self.traits)}


def vessel_distance(plan: BodyPlan, patch: Patch) -> Array:
    """Distance [mm] to thin winding curves, along which two noise fields vanish together: small vessels."""
    x, y, z = patch.x, patch.y, patch.z
    first = plan.mid(x + 31.0, y - 17.0, z + 5.0)
    second = plan.mid(y + 11.0, z + 47.0, x - 23.0)
    return np.asarray(np.hypot(first, second) * 2.6)
