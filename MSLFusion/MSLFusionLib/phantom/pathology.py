"""What not every head has: a tumour with oedema, and metal."""

from dataclasses import dataclass

import numpy as np

from MSLFusionLib.phantom import shapes
from MSLFusionLib.phantom.body_plan import BodyPlan
from MSLFusionLib.phantom.canvas import Canvas, Patch
from MSLFusionLib.phantom.outline import Outline
from MSLFusionLib.phantom.shapes import Point

_BRAIN = ("grey", "white", "striatum", "thalamus", "pallidum")


@dataclass(frozen=True)
class Tumour:
    """Where it is (anatomical mm), how large, how far the oedema reaches, whether its core is dead."""

    centre: Point
    radius_mm: float
    oedema_mm: float
    necrotic: bool

    @classmethod
    def of_seed(cls, seed: int, wanted: bool | None) -> "Tumour | None":
        """The tumour of this seed's head; wanted=None gives one to about a fifth of the seeds."""
        rng = np.random.default_rng([seed, 0xC401])
        by_seed, tumour = bool(rng.random() < 0.2), cls._draw(rng)
        return tumour if (by_seed if wanted is None else wanted) else None

    @classmethod
    def _draw(cls, rng: np.random.Generator) -> "Tumour":
        """A random place in the white matter of one hemisphere."""
        side = float(rng.choice([-1.0, 1.0]))
        centre = (side * float(rng.uniform(24, 44)), float(rng.uniform(-60, 38)), float(rng.uniform(4, 42)))
        radius = float(rng.uniform(7, 16))
        return cls(centre, radius, float(rng.uniform(6, 16)), bool(rng.random() < 0.6))


def paint_tumour(canvas: Canvas, plan: BodyPlan, patch: Patch, tumour: Tumour) -> None:
    """Tumour with an irregular rim; oedema follows the white matter around it."""
    r = tumour.radius_mm + tumour.oedema_mm + 8.0
    cx, cy, cz = tumour.centre
    part = patch.near((cx - r, cy - r, cz - r), (cx + r, cy + r, cz + r))
    part = part.take(canvas.is_any(part, _BRAIN))
    if not len(part):
        return
    x, y, z = part.x, part.y, part.z
    wave = plan.mid(x * 0.8, y * 0.8, z * 0.8)
    ball = shapes.ellipsoid(x, y, z, tumour.centre, (tumour.radius_mm, tumour.radius_mm * 1.15, tumour.radius_mm))
    ball = ball + 1.8 * wave
    white = part.take(canvas.is_any(part, ("white",)))
    inside = canvas.is_any(part, ("white",))
    canvas.paint(white, "oedema", ball[inside] - tumour.oedema_mm * (1.0 + 0.35 * wave[inside]), softness=2.5)
    canvas.paint(part, "tumour", ball, softness=1.5)
    if tumour.necrotic:
        canvas.paint(part, "tumour_rim", np.maximum(ball, -ball - 3.0), softness=1.5)
        canvas.paint(part, "necrosis", ball + 4.0 + 0.8 * wave, softness=2.0)


def paint_metal(canvas: Canvas, plan: BodyPlan, patch: Patch, outline: Outline) -> None:
    """Dental fillings and a plate with screws on the dome.

    The fields around metal make MR lose its signal well beyond the metal itself; CT shows it as it is.
    """
    x, y, z = patch.x, patch.y, patch.z
    metal = np.full(len(patch), 1e3, np.float32)
    fillings: list[Point] = [(22.0, 45.0, -93.0), (-24.0, 40.0, -93.0), (-20.0, 49.0, -95.0), (25.0, 34.0, -94.0)]
    for centre in fillings[: plan.traits.amalgam]:
        metal = np.minimum(metal, shapes.ellipsoid(x, y, z, centre, (3.0, 3.0, 3.0)))
    plate = np.abs(outline.vault + outline.skull + 0.9) - 0.8
    strip = np.maximum(np.abs(y - 8.0 - 0.3 * z) - 3.5, np.abs(z - 45.0) - 17.0)
    plate = np.maximum(np.maximum(plate, strip), -x)
    metal = np.minimum(metal, plate)
    alpha_void = np.clip(0.5 - (metal - 4.5) / 4.0, 0.0, 1.0)
    touched = np.flatnonzero(alpha_void)
    canvas.values[1:3, patch.index[touched]] *= 1.0 - alpha_void[touched]
    canvas.paint(patch, "metal", metal)
