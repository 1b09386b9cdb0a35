"""Corpus callosum, basal ganglia, thalami and the ventricles."""

import numpy as np

from MSLFusionLib.phantom import shapes
from MSLFusionLib.phantom.body_plan import BodyPlan
from MSLFusionLib.phantom.canvas import Canvas, Patch
from MSLFusionLib.phantom.shapes import Array

_VENTRICLE = [
    (11.0, 33.0, 1.0),
    (10.0, 24.0, 8.0),
    (8.0, 8.0, 17.0),
    (10.0, -10.0, 21.0),
    (15.0, -28.0, 19.0),
    (24.0, -42.0, 9.0),
    (25.0, -58.0, 4.0),
    (23.0, -74.0, 3.0),
]
_VENTRICLE_RADII = [2.4, 5.0, 5.2, 5.2, 5.6, 6.5, 4.0, 0.8]
_TEMPORAL_HORN = [(26.0, -42.0, 6.0), (34.0, -32.0, -6.0), (34.0, -16.0, -17.0), (32.0, -8.0, -19.0)]


def paint_deep_brain(canvas: Canvas, plan: BodyPlan, patch: Patch) -> None:
    """Everything between the hemispheres' white matter."""
    part = patch.near((-52.0, -92.0, -30.0), (52.0, 50.0, 44.0))
    if not len(part):
        return
    x, y, z, side = part.x, part.y, part.z, part.side
    wave = plan.mid(x, y, z)
    v = plan.traits.ventricles
    _paint_callosum(canvas, part, wave)

    turned_x, turned_y = shapes.rotate(side - 27.0, y - 1.0, -12.0)
    putamen = shapes.superellipsoid(turned_x, turned_y, z, (0.0, 0.0, 1.0), (5.6, 16.0, 11.0), 2.2)
    pallidum = shapes.ellipsoid(turned_x, turned_y, z, (-6.2, -4.0, -1.0), (4.6, 9.0, 6.5))
    canvas.paint(part, "striatum", putamen + 0.5 * wave, softness=1.3)
    canvas.paint(part, "pallidum", pallidum + 0.4 * wave, softness=1.6)
    claustrum = shapes.ellipsoid(turned_x, turned_y, z, (8.6, 0.0, 2.0), (0.8, 14.0, 10.0))
    canvas.paint(part, "grey", claustrum, softness=1.2, cover=0.7)
    wide = 2.0 * (v - 1.0)
    caudate = shapes.tube(
        side - wide,
        y,
        z,
        [(12.5, 20.0, 1.0), (14.0, 14.0, 10.0), (16.0, -2.0, 20.0), (20.0, -20.0, 21.0), (29.0, -36.0, 10.0)],
        [6.0, 6.2, 4.0, 2.6, 1.5],
    )
    canvas.paint(part, "striatum", caudate + 0.4 * wave, softness=1.2)
    accumbens = shapes.ellipsoid(side, y, z, (11.0, 13.0, -7.0), (6.0, 6.0, 4.5))
    canvas.paint(part, "striatum", accumbens, softness=1.6)
    tx, ty = shapes.rotate(side - 11.5, y + 19.0, -22.0)
    thalamus = shapes.ellipsoid(tx, ty, z, (0.0, 0.0, 8.0), (8.6, 15.0, 9.5))
    canvas.paint(part, "thalamus", thalamus + 0.4 * wave, softness=1.5)
    hippocampus = shapes.tube(
        side, y, z, [(25.0, -10.0, -20.0), (27.0, -20.0, -15.0), (24.0, -34.0, -4.0)], [6.0, 4.8, 3.0]
    )
    canvas.paint(part, "grey", hippocampus, softness=1.2)
    amygdala = shapes.ellipsoid(side, y, z, (23.0, -3.0, -20.0), (7.0, 7.0, 7.0))
    canvas.paint(part, "grey", amygdala, softness=1.4)
    _paint_ventricles(canvas, plan, part, wave, v)


def _paint_callosum(canvas: Canvas, part: Patch, wave: Array) -> None:
    y, z, side = part.y, part.z, part.side
    ring = 1.0 - np.sqrt(((y + 5.0) / 39.5) ** 2 + ((z - 0.0) / 27.0) ** 2)
    shell = np.abs(ring * 27.0 - 2.5) - 2.9
    shell = np.maximum(shell, side - 17.0)
    shell = np.maximum(shell, 4.0 - z + 6.0 * shapes.step(y - 15.0, 20.0))
    canvas.paint(part, "white", shell, softness=1.2)
    # the septum and the fornix hang below it
    septum = np.maximum(np.maximum(side - 0.9, -ring * 27.0), np.abs(y - 8.0) - 18.0)
    canvas.paint(part, "white", np.maximum(septum, 4.0 - z))


def _paint_ventricles(canvas: Canvas, plan: BodyPlan, part: Patch, wave: Array, v: float) -> None:
    x, y, z, side = part.x, part.y, part.z, part.side
    lean = (1.0 + 0.10 * np.sign(x) * float(np.clip(plan.traits.sinus - 1.0, -1, 1) * 3)).astype(np.float32)
    flat_z = (z - 8.0) * (1.0 / (0.55 + 0.45 * v)) + 8.0
    wide_x = side * (1.0 / (0.7 + 0.3 * v)) * lean
    lateral = shapes.tube(wide_x, y, flat_z, _VENTRICLE, [r * (0.8 * v + 0.1) for r in _VENTRICLE_RADII])
    lateral = lateral + 0.35 * wave
    lateral = np.maximum(lateral, 0.9 - side)
    horn = shapes.tube(side, y, z, _TEMPORAL_HORN, [4.0 * v, 2.2 * v, 1.6 * v, 1.0 * v])
    third = shapes.superellipsoid(x, y, z, (0.0, -13.0, 1.0), (1.6 + 1.2 * v, 14.0, 11.0), 2.4)
    mass = np.hypot(y + 12.0, z - 3.0) - 3.5
    third = np.maximum(third, -mass)
    foramen = shapes.capsule(side, y, z, (0.0, 0.0, 7.0), (7.0, 3.0, 14.0), 1.6, 1.6)
    canvas.paint(part, "csf", np.minimum(np.minimum(lateral, horn), np.minimum(third, foramen)))
    velum = shapes.capsule(side, y, z, (0.0, -34.0, 6.0), (5.0, -40.0, 1.0), 4.0, 4.0)
    canvas.paint(part, "csf", velum)
    plexus = shapes.tube(side, y, z, [(9.0, -12.0, 17.0), (16.0, -30.0, 15.0), (24.0, -42.0, 6.0)], [1.2, 1.6, 2.8])
    canvas.paint(part, "soft_tissue", plexus + 0.6 * plan.cells(x, y, z), softness=1.3, cover=0.8)
