"""Cerebellum with its folia, brainstem, spinal cord and fourth ventricle."""

import numpy as np

from MSLFusionLib.phantom import shapes
from MSLFusionLib.phantom.body_plan import BodyPlan
from MSLFusionLib.phantom.canvas import Canvas, Patch
from MSLFusionLib.phantom.cerebrum import infratentorial_depth
from MSLFusionLib.phantom.outline import Outline
from MSLFusionLib.phantom.shapes import smooth_min


def paint_hindbrain(canvas: Canvas, plan: BodyPlan, patch: Patch, outline: Outline) -> None:
    """Cerebellum first, the brainstem over it."""
    _paint_cerebellum(canvas, plan, patch, outline)
    _paint_brainstem(canvas, plan, patch)


def _paint_cerebellum(canvas: Canvas, plan: BodyPlan, patch: Patch, outline: Outline) -> None:
    t = plan.traits
    infra = infratentorial_depth(patch)
    chosen = (infra > -1.0) & (patch.y < -20.0) & (outline.cavity > -1.0)
    part = patch.take(chosen)
    if not len(part):
        return
    x, y, z, side = part.x, part.y, part.z, part.side
    wave = plan.mid(x, y, z)
    lobes = shapes.superellipsoid(side, y, z, (22.0, -58.0, -36.0), (36.0, 36.0, 33.0), 2.3)
    vermis = shapes.ellipsoid(x, y, z, (0.0, -58.0, -24.0), (14.0, 28.0, 30.0))
    depth = -shapes.smooth_min(lobes, vermis, 6.0)
    depth = smooth_min(depth, infra[chosen] - 1.6, 3.0)
    depth = smooth_min(depth, outline.cavity[chosen] - 1.5 - 0.5 * t.atrophy_mm, 4.0)
    notch = np.hypot(side, np.maximum(y + 84.0, 0.0)) - 1.5
    depth = smooth_min(depth, notch, 4.0)
    # folia: onion-like leaves around the white core, their phase bent by noise
    ry, rz = y + 38.0, (z + 34.0) * 1.15
    bend = plan.broad2(x, y, z)
    phase = np.arctan2(rz, -ry) * 17.0 + 0.004 * side * side + 2.0 * bend + 0.25 * wave
    spacing = 4.2
    sheet = np.abs(phase / spacing - np.round(phase / spacing)) * spacing
    sheet = np.hypot(sheet, np.maximum(depth - 11.0 - 2.5 * wave, 0.0))
    pial = smooth_min(depth, sheet - 0.12 - 0.08 * t.atrophy_mm, 1.0)
    canvas.paint(part, "cerebellar_grey", -depth, softness=1.2)
    canvas.paint(part, "csf", np.maximum(pial, -depth), cover=0.75)
    white = np.maximum(1.55 - pial, 9.5 + 2.0 * wave - depth)
    canvas.paint(part, "white", white, softness=1.2)
    nucleus = shapes.ellipsoid(side, y, z, (15.0, -54.0, -34.0), (6.0, 6.0, 4.0))
    canvas.paint(part, "pallidum", np.abs(nucleus) - 0.7, cover=0.5)


def _paint_brainstem(canvas: Canvas, plan: BodyPlan, patch: Patch) -> None:
    part = patch.near((-40.0, -75.0, -140.0), (40.0, 12.0, 2.0))
    if not len(part):
        return
    x, y, z, side = part.x, part.y, part.z, part.side
    midbrain = shapes.capsule(x / 1.15, y, z, (0.0, -24.0, -4.0), (0.0, -26.0, -20.0), 11.0, 11.0)
    peduncle = shapes.capsule(side, y, z, (16.0, -12.0, -3.0), (8.0, -17.0, -18.0), 6.5, 6.0)
    pons = shapes.superellipsoid(x, y, z, (0.0, -25.0, -33.0), (17.0, 13.5, 13.5), 2.2)
    arm = shapes.capsule(side, y, z, (14.0, -30.0, -34.0), (26.0, -46.0, -36.0), 8.0, 8.0)
    medulla = shapes.tube(
        x / 1.15, y, z, [(0.0, -32.0, -44.0), (0.0, -39.0, -64.0), (0.0, -41.0, -110.0)], [8.5, 7.0, 5.6]
    )
    fossa = np.maximum(shapes.capsule(x, y, z, (0.0, -16.0, -4.0), (0.0, -14.0, -22.0), 4.0, 3.5), y + 14.0)
    stem = shapes.smooth_min(midbrain, peduncle, 3.0)
    stem = shapes.smooth_max(stem, -fossa, 2.0)
    stem = shapes.smooth_min(stem, pons, 3.0)
    stem = shapes.smooth_min(shapes.smooth_min(stem, medulla, 4.0), arm, 4.0)
    stem = np.maximum(stem, z - 1.0)
    canvas.paint(part, "stem", stem)
    nigra = shapes.capsule(side, y, z, (6.0, -18.0, -9.0), (11.0, -15.0, -9.0), 1.6, 1.3)
    red = shapes.ellipsoid(side, y, z, (5.0, -22.0, -9.0), (2.8, 2.8, 3.5))
    canvas.paint(part, "pallidum", np.minimum(nigra, red), softness=1.5, cover=0.6)
    aqueduct = shapes.capsule(x, y, z, (0.0, -30.0, 0.0), (0.0, -36.0, -22.0), 1.2, 1.5)
    v = plan.traits.ventricles
    fourth = shapes.ellipsoid(x, y, z, (0.0, -43.0, -34.0), (6.0 + 3.0 * v, 3.5 + 2.0 * v, 12.0))
    cistern = shapes.ellipsoid(x, y, z, (0.0, -55.0, -66.0), (9.0, 14.0, 7.0))
    canvas.paint(part, "csf", np.minimum(np.minimum(aqueduct, fourth), cistern))
