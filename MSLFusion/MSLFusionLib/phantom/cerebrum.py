"""Cerebrum: hemispheres, folded cortex, white matter and the fluid around them."""

import numpy as np

from MSLFusionLib.phantom import shapes
from MSLFusionLib.phantom.body_plan import BodyPlan
from MSLFusionLib.phantom.canvas import Canvas, Patch
from MSLFusionLib.phantom.outline import Outline, petrous_line, tentorium_height
from MSLFusionLib.phantom.shapes import Array, smooth_min


def infratentorial_depth(patch: Patch) -> Array:
    """Depth inside the space below the tentorium and behind the petrous ridge (positive inside)."""
    side = patch.side
    under = tentorium_height(side, patch.y) - patch.z
    behind = (petrous_line(side) + 2.0 - patch.y) * 0.85
    return smooth_min(under, behind, 6.0)


def paint_fluid(canvas: Canvas, plan: BodyPlan, patch: Patch, outline: Outline) -> None:
    """Dura and cerebrospinal fluid fill the cavity; tentorium and falx part it."""
    canvas.paint(patch, "dura", -outline.cavity)
    canvas.paint(patch, "csf", 0.8 - outline.cavity)
    tent = np.abs(infratentorial_depth(patch)) - 0.6
    tent = np.maximum(tent, 24.0 - np.hypot(patch.x, (patch.y + 26.0) * 0.8))
    canvas.paint(patch, "dura", np.maximum(tent, -outline.cavity))


def midline(plan: BodyPlan, patch: Patch) -> Array:
    """x of the interhemispheric fissure: not quite a plane."""
    return 0.9 * plan.broad2(patch.x * 0.2, patch.y, patch.z)


def paint_cerebrum(canvas: Canvas, plan: BodyPlan, patch: Patch, outline: Outline) -> None:
    """Grey and white matter of both hemispheres with their sulci."""
    t = plan.traits
    x, y, z = patch.x, patch.y, patch.z
    gap = 1.6 + 0.7 * t.atrophy_mm
    hull = outline.cavity - gap
    infra = infratentorial_depth(patch)
    hull = smooth_min(hull, 1.6 - infra, 5.0)
    stem_space = shapes.capsule(x, y, z, (0.0, -22.0, -10.0), (0.0, -14.0, -50.0), 16.0, 17.0)
    sella = shapes.capsule(x, y, z, (0.0, 8.0, -17.0), (0.0, 4.0, -34.0), 8.0, 13.0)
    hull = smooth_min(hull, np.minimum(stem_space, sella), 4.0)
    keep = hull > -canvas.edge_mm
    part = patch.take(keep)
    if not len(part):
        return
    pial = pial_depth(plan, part, hull[keep])
    grey_edge = t.cortex_mm * (1.0 + 0.14 * plan.mid(part.x, part.y, part.z))
    canvas.paint(part, "grey", -pial)
    canvas.paint(part, "white", grey_edge - pial, softness=1.8)


def pial_depth(plan: BodyPlan, patch: Patch, hull: Array) -> Array:
    """Distance to the nearest fluid outside or in a sulcus (positive in tissue)."""
    t = plan.traits
    x, y, z = patch.x, patch.y, patch.z
    middle = midline(plan, patch)
    side = np.abs(x - middle)

    # the fissure between the hemispheres ends above the corpus callosum
    core = 1.0 - np.sqrt(((y + 5.0) / 40.0) ** 2 + ((z - 2.0) / 27.5) ** 2)
    inside_core = np.maximum(core * 27.5, 0.0)
    below = shapes.step(-14.0 - z, 6.0)
    inside_core = inside_core * (1.0 - below)
    fissure = np.hypot(side, inside_core) - (0.7 + 0.3 * t.atrophy_mm)
    depth = smooth_min(hull, fissure, 3.0)

    # folds run perpendicular to the surface: noise is read at points pushed out from the hemisphere's axis
    axis_y = np.clip(y, -62.0, 32.0)
    axis_x = np.where(x > 0, np.float32(22.0), np.float32(-22.0))
    rx, ry, rz = x - axis_x, y - axis_y, z - 6.0
    radius = np.sqrt(rx * rx + ry * ry + rz * rz) + 1.0
    push = 0.62 * np.clip(depth, 0.0, 26.0)
    stretch = 1.0 + push / radius
    fx, fy, fz = axis_x + rx * stretch, axis_y + ry * stretch, 6.0 + rz * stretch
    g = plan.fold(fx, fy, fz)
    slope = np.maximum(plan.fold.slope(fx, fy, fz), 0.08) * np.sqrt(stretch)
    sheet = np.abs(g) / slope
    reach = t.sulcus_depth_mm + 5.0 * plan.mid(fx * 0.45, fy * 0.45, fz * 0.45)
    reach = reach - 2.0 * inside_core * shapes.step(26.0 - side, 16.0)
    sulcus = np.hypot(sheet, np.maximum(depth - reach, 0.0) * 1.2)
    sulcus = np.minimum(sulcus, _sylvian(plan, patch, depth))
    width = 0.12 + 0.15 * t.atrophy_mm + (0.22 + 0.25 * t.atrophy_mm) * np.exp(-depth * (1.0 / 5.0))
    return smooth_min(depth, sulcus - width, 2.5)


def _sylvian(plan: BodyPlan, patch: Patch, depth: Array) -> Array:
    """Distance to the lateral fissure: a cleft rising to the back that ends on the insula."""
    x, y, z, side = patch.x, patch.y, patch.z, patch.side
    wave = 1.4 * plan.mid(x * 0.6, y * 0.6, z * 0.6)
    level = z - (-8.0 - 0.42 * (y - 12.0)) + 2.0 * wave
    cleft = np.hypot(level, np.maximum(38.0 - side, 0.0))
    cleft = np.hypot(cleft, np.maximum(np.abs(y + 8.0) - 28.0, 0.0))
    insula = side - 37.5 + 0.008 * (y + 4.0) ** 2 + 0.012 * (z - 2.0) ** 2 + wave
    insula = np.hypot(insula, np.maximum(np.hypot((y + 4.0), (z - 2.0) * 1.35) - 23.0, 0.0))
    return np.minimum(cleft, insula) - 0.5 - 0.25 * plan.traits.atrophy_mm
