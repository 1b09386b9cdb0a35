"""The three surfaces on which everything hangs: skin, outer skull, cranial cavity."""

from dataclasses import dataclass

import numpy as np

from MSLFusionLib.phantom import shapes
from MSLFusionLib.phantom.body_plan import BodyPlan
from MSLFusionLib.phantom.canvas import Patch
from MSLFusionLib.phantom.shapes import Array, smooth_min, step


def petrous_line(side: Array) -> Array:
    """y of the petrous ridge, which parts middle and posterior fossa."""
    return -4.0 - 0.6 * side


def tentorium_height(side: Array, y: Array) -> Array:
    """z of the tentorium: cerebrum above, cerebellum below (behind the petrous ridge)."""
    ridge = 3.0 - 0.55 * np.abs(y + 48.0)
    slope = 0.25 + 0.38 * step(y + 66.0, 40.0)
    return np.maximum(ridge - slope * side, -34.0 - 0.08 * side)


def base_height(side: Array, y: Array) -> Array:
    """z of the floor of the cranial cavity: anterior, middle and posterior fossa."""
    anterior = -25.0 - 5.0 * step(18.0 - side, 16.0) - 3.0 * step(4.0 - side, 5.0)
    anterior = anterior - 5.0 * step(side - 44.0, 12.0)
    bowl = ((side - 38.0) / 24.0) ** 2 + ((y + 4.0) / 32.0) ** 2
    middle = -49.0 + 12.0 * np.minimum(bowl, 1.5)
    middle = middle + (-30.0 - middle) * step(13.0 - side, 6.0)
    clivus = -30.0 + (y + 6.0) * 1.3
    posterior = np.maximum(-74.0, np.minimum(clivus, -30.0))
    to_front = step(y - (13.0 + 0.16 * side), 9.0)
    to_back = step(petrous_line(side) - y, 9.0)
    floor = middle + to_front * (anterior - middle)
    return floor + to_back * (posterior - floor)


@dataclass(frozen=True)
class Outline:
    """Distances at the points of a patch [mm].

    vault: depth below the inner surface of the skull's dome (positive inside);
    cavity: depth inside the cranial cavity; floor: height above the cavity's floor;
    skull: thickness of the dome; skin: signed distance to the skin (negative inside).
    """

    vault: Array
    cavity: Array
    floor: Array
    skull: Array
    skin: Array

    def take(self, chosen: np.ndarray) -> "Outline":
        """The same at some of the points."""
        return Outline(
            self.vault[chosen], self.cavity[chosen], self.floor[chosen], self.skull[chosen], self.skin[chosen]
        )


def vault_depth(x: Array, y: Array, z: Array) -> Array:
    """Depth below the dome: an egg, widest behind the middle."""
    width = 69.0 - 0.03 * np.maximum(y + 18.0, 0.0) - 0.08 * np.maximum(y - 30.0, 0.0)
    height = np.where(z > 4.0, np.float32(75.5), np.float32(79.0))
    u, v, w = x / width, (y + 18.0) / 91.0, (z - 4.0) / height
    power = 2.3
    u, v, w = np.abs(u) ** power, np.abs(v) ** power, np.abs(w) ** power
    k = (u + v + w) ** (1.0 / power)
    return (1.0 - k) * 76.0


def measure(plan: BodyPlan, patch: Patch) -> Outline:
    """All outline distances at the patch's points."""
    t = plan.traits
    x, y, z, side = patch.x, patch.y, patch.z, patch.side
    broad = plan.broad(x, y, z)
    broad2 = plan.broad2(x, y, z)
    vault = vault_depth(x, y, z) + 0.3 * plan.mid(x * 0.6, y * 0.6, z * 0.6)
    floor = (z - base_height(side, y)) * 0.8 + 1.0 * broad2
    cavity = smooth_min(vault, floor, 8.0)
    skull = (
        t.skull_mm
        + 0.8 * broad
        + 1.5 * step(-80.0 - y, 30.0) * step(20.0 - z, 30.0)
        - 2.0 * step(side - 62.0, 10.0)
        - 2.0 * step(-28.0 - z, 24.0)
    )
    brow = np.exp(-((x / 30.0) ** 2) - ((z + 17.0) / 15.0) ** 2) * step(y - 45.0, 20.0)
    skull = np.maximum(skull, 3.0) + 4.0 * t.sinus * brow

    scalp = t.scalp_mm + 0.5 * broad2 + 2.0 * step(-60.0 - y, 50.0) * step(-z, 60.0)
    head = -vault - skull - scalp
    face = shapes.superellipsoid(x, y, z, (0.0, 0.0, -66.0), (77.0, 78.0, 82.0), 2.4)
    neck = np.sqrt((x / 64.0) ** 2 + ((y + 38.0) / 62.0) ** 2)
    neck = np.maximum((neck - 1.0) * 62.0, z + 40.0)
    skin = smooth_min(smooth_min(head, face, 16.0), neck, 20.0)
    chin = shapes.superellipsoid(x, y, z, (0.0, 36.0, -100.0), (48.0, 44.0, 40.0), 2.4)
    skin = smooth_min(skin, chin, 14.0)
    skin = smooth_min(skin, _nose(plan, x, y, z), 7.0)
    sockets = shapes.ellipsoid(side, y, z, (33.0, 76.0, -41.0), (17.0, 9.0, 11.0))
    skin = shapes.smooth_max(skin, -sockets, 8.0)
    lids = shapes.ellipsoid(side, y, z, (33.0, 52.0, -41.0), (16.0, 15.5, 15.0))
    skin = smooth_min(skin, lids, 5.0)
    return Outline(vault, cavity, floor, skull, smooth_min(skin, _ears(plan, y, z, side), 3.0))


def _nose(plan: BodyPlan, x: Array, y: Array, z: Array) -> Array:
    tip = 80.0 + plan.traits.nose_mm
    bridge = shapes.capsule(x, y, z, (0.0, 74.0, -28.0), (0.0, tip, -62.0), 6.0, 10.0)
    wings = shapes.ellipsoid(np.abs(x), y, z, (10.0, tip - 8.0, -66.0), (8.0, 11.0, 8.0))
    return smooth_min(bridge, wings, 4.0)


def _ears(plan: BodyPlan, y: Array, z: Array, side: Array) -> Array:
    """Auricles: a tilted disc with a rim, hollowed in front."""
    out, back = shapes.rotate(side - 75.0, -(y + 26.0), -plan.traits.ear_deg)
    disc = shapes.ellipsoid(out, back, z, (2.5, 8.0, -44.0), (3.6, 14.0, 27.0))
    bowl = shapes.ellipsoid(out, back, z, (5.6, 6.0, -44.0), (4.0, 9.0, 20.0))
    return np.asarray(shapes.smooth_max(disc, -bowl, 3.0))
