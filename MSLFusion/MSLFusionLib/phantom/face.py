"""Nose, sinuses, orbits, jaws and teeth."""

import numpy as np

from MSLFusionLib.phantom import shapes
from MSLFusionLib.phantom.body_plan import BodyPlan
from MSLFusionLib.phantom.canvas import Canvas, Patch
from MSLFusionLib.phantom.outline import Outline
from MSLFusionLib.phantom.shapes import Array


def paint_face(canvas: Canvas, plan: BodyPlan, patch: Patch, outline: Outline) -> None:
    """All of the facial skeleton, from the back to the front."""
    part = patch.near((-82.0, -40.0, -140.0), (82.0, 125.0, 20.0))
    if not len(part):
        return
    _paint_jaws(canvas, plan, part)
    _paint_cheek(canvas, plan, part)
    _paint_nose(canvas, plan, part)
    _paint_sinuses(canvas, plan, part)
    _paint_frontal_sinus(canvas, plan, patch, outline)
    for sign in (-1.0, 1.0):
        _paint_orbit(canvas, plan, part, sign)


def _paint_jaws(canvas: Canvas, plan: BodyPlan, patch: Patch) -> None:
    part = patch.near((-70.0, -40.0, -140.0), (70.0, 100.0, -48.0))
    if not len(part):
        return
    x, y, z, side = part.x, part.y, part.z, part.side
    jaw = plan.traits.jaw
    rough = plan.cells(x, y, z)
    ramus = shapes.tube(side, y, z, [(52.0, -12.0, -54.0), (52.0, -8.0, -75.0), (50.0, 0.0, -104.0)], [5.5, 4.0, 5.0])
    ramus = shapes.smooth_min(ramus, shapes.capsule(side, y, z, (50.0, 14.0, -66.0), (50.0, 4.0, -95.0), 2.5, 4.0), 8.0)
    body = shapes.tube(
        side,
        y,
        z,
        [(50.0, 0.0, -106.0), (38.0, 36.0, -114.0), (16.0, 62.0 * jaw, -118.0), (0.0, 67.0 * jaw, -118.0)],
        [6, 6, 6, 7],
    )
    mandible = shapes.smooth_min(ramus, body, 5.0)
    canvas.paint(part, "bone", mandible)
    canvas.paint(part, "marrow", mandible + 1.9 + 0.4 * rough, softness=1.5)
    pterygoid = shapes.capsule(side, y, z, (14.0, 10.0, -55.0), (16.0, 6.0, -82.0), 2.2, 1.6)
    canvas.paint(part, "bone", pterygoid)
    arch = _arch(x, y, side, 64.0 * jaw)
    alveolar = np.maximum(np.abs(arch) - 6.0, np.maximum(np.abs(z + 85.0) - 7.0, 14.0 - y))
    palate = np.maximum(np.maximum(np.abs(z + 80.0) - 1.6, arch), 8.0 - y)
    canvas.paint(part, "bone", np.minimum(alveolar, palate))
    canvas.paint(part, "marrow", alveolar + 1.5 + 0.5 * rough, softness=1.5)
    mouth = np.maximum(arch + 3.0, np.abs(z + 101.0) - 17.0)
    canvas.paint(part, "muscle", np.maximum(mouth, 12.0 - y))
    # teeth stand along the arch: a position along it, cut into crowns
    along = np.arctan2(x, y - 12.0) * 46.0
    gap = np.abs(along / 8.2 - np.round(along / 8.2)) * 8.2 - 3.4
    crown = np.maximum(np.maximum(np.abs(arch) - 3.6, np.abs(z + 93.0) - 8.0), gap)
    teeth = np.maximum(np.maximum(crown, 14.0 - y), np.abs(x) - 40.0)
    canvas.paint(part, "tooth", teeth)


def _arch(x: Array, y: Array, side: Array, front: float) -> Array:
    """Signed distance in the plane to the dental arch, a parabola (negative inside)."""
    return np.asarray((y - front + x * x / 26.0) / np.sqrt(1.0 + (side / 13.0) ** 2))


def _paint_cheek(canvas: Canvas, plan: BodyPlan, patch: Patch) -> None:
    part = patch.near((10.0, -30.0, -95.0), (80.0, 90.0, 0.0), paired=True)
    if not len(part):
        return
    x, y, z, side = part.x, part.y, part.z, part.side
    rough = plan.cells(x, y, z)
    arch = shapes.tube(
        side,
        y,
        z,
        [(36.0, 60.0, -56.0), (52.0, 50.0, -58.0), (66.0, 28.0, -56.0), (69.0, 2.0, -54.0), (64.0, -16.0, -50.0)],
        [4.5, 5.5, 3.2, 2.6, 3.5],
    )
    rim = shapes.tube(
        side,
        y,
        z,
        [(52.0, 50.0, -56.0), (53.0, 46.0, -41.0), (46.0, 56.0, -23.0), (24.0, 68.0, -21.0), (8.0, 72.0, -26.0)],
        [4.5, 3.5, 4.0, 4.0, 4.0],
    )
    maxilla = shapes.superellipsoid(side, y, z, (24.0, 44.0, -64.0), (20.0, 21.0, 19.0), 2.6)
    sphenoid = shapes.ellipsoid(side, y, z, (0.0, 2.0, -44.0), (19.0, 24.0, 14.0))
    wing = shapes.capsule(side, y, z, (38.0, 26.0, -30.0), (52.0, 20.0, -44.0), 3.0, 3.0)
    bones = np.minimum.reduce([arch, rim, maxilla, sphenoid, wing])
    canvas.paint(part, "bone", bones)
    canvas.paint(part, "marrow", bones + 1.8 + 0.4 * rough, softness=1.5)


def _paint_nose(canvas: Canvas, plan: BodyPlan, patch: Patch) -> None:
    part = patch.near((-22.0, -40.0, -125.0), (22.0, 115.0, -14.0))
    if not len(part):
        return
    x, y, z = part.x, part.y, part.z
    wave = plan.mid(x, y, z)
    tip = 80.0 + plan.traits.nose_mm
    bridge = shapes.capsule(np.abs(x), y, z, (2.0, 74.0, -22.0), (6.0, 84.0, -46.0), 3.0, 2.0)
    canvas.paint(part, "bone", bridge)
    cavity = shapes.superellipsoid(x, y, z, (0.0, 36.0, -60.0), (15.0, 37.0, 20.0), 2.6)
    nostril = shapes.capsule(np.abs(x), y, z, (5.0, 66.0, -66.0), (6.5, tip - 6.0, -72.0), 5.0, 3.8)
    cavity = shapes.smooth_min(cavity, nostril, 4.0)
    throat = shapes.superellipsoid(x, y, z, (0.0, -2.0, -70.0), (13.0, 9.0, 12.0), 3.0)
    pharynx = np.maximum(shapes.superellipsoid(x, y, z, (0.0, -6.0, -95.0), (12.0, 5.0, 34.0), 3.0), z + 74.0)
    cavity = np.minimum(np.minimum(cavity, throat), pharynx)
    canvas.paint(part, "thin_bone", cavity - 1.2)
    canvas.paint(part, "mucosa", cavity)
    septum = np.abs(x + 0.8 * wave) - 1.3
    shelves = np.abs(z + 52.0 + 0.9 * np.abs(x) + 1.0 * wave) - 2.4
    lower = np.abs(z + 66.0 + 0.9 * np.abs(x) + 1.0 * wave) - 2.8
    turbinates = np.maximum(np.minimum(shelves, lower), np.maximum(y - 58.0, 6.0 - y))
    turbinates = np.maximum(turbinates, 4.0 - np.abs(x))
    septum = np.maximum(septum, 4.0 - y)
    solid = np.minimum(septum, turbinates)
    canvas.paint(part, "inner_air", np.maximum(cavity + 1.2, -solid))
    canvas.paint(part, "thin_bone", np.maximum(np.maximum(septum + 0.9, cavity), y - 66.0), cover=0.7)


def _paint_sinuses(canvas: Canvas, plan: BodyPlan, patch: Patch) -> None:
    part = patch.near((-52.0, -10.0, -92.0), (52.0, 92.0, 20.0))
    if not len(part):
        return
    x, y, z, side = part.x, part.y, part.z, part.side
    s = plan.traits.sinus
    wave = plan.mid(x, y, z)
    rough = plan.cells(x, y, z)
    ethmoid = shapes.superellipsoid(x, y, z, (0.0, 38.0, -42.0), (12.5, 24.0, 11.0), 3.0)
    walls = np.minimum(0.9 - np.abs(x), 0.75 - np.abs(rough) * 1.9)
    sphenoid = shapes.superellipsoid(x, y, z, (0.0, 8.0, -43.0), (13.0 * s, 13.0, 10.0), 2.6) + 0.8 * wave
    split = 0.7 - np.abs(x - 3.0 + 0.1 * y)
    maxillary = shapes.superellipsoid(side, y, z, (27.0, 42.0, -64.0), (14.0 * s, 17.5 * s, 16.5 * s), 2.3)
    maxillary = maxillary + 1.0 * wave
    for cave, inside in (
        (ethmoid, np.maximum(ethmoid, walls)),
        (sphenoid, np.maximum(sphenoid, split)),
        (maxillary, maxillary),
    ):
        canvas.paint(part, "thin_bone", cave - 1.0)
        canvas.paint(part, "mucosa", cave, cover=0.8)
        canvas.paint(part, "inner_air", inside + 0.6)


def _paint_frontal_sinus(canvas: Canvas, plan: BodyPlan, patch: Patch, outline: Outline) -> None:
    """Between the tables of the brow, which is thickest there."""
    chosen = (patch.y > 45.0) & (np.abs(patch.z + 16.0) < 34.0) & (np.abs(outline.vault) < 25.0)
    part, o = patch.take(chosen), outline.take(chosen)
    if not len(part):
        return
    x, y, z = part.x, part.y, part.z
    s = plan.traits.sinus
    extent = shapes.superellipsoid(x, y, z, (0.0, 70.0, -17.0), (23.0 * s, 25.0, 14.0 * s), 2.2)
    extent = extent + 2.0 * plan.mid(x, y, z)
    between = np.maximum(o.cavity + 1.6, 2.4 - o.vault - o.skull)
    split = 0.7 - np.abs(x + 2.0 + 0.1 * z)
    canvas.paint(part, "inner_air", np.maximum(np.maximum(extent, between), split))


def _paint_orbit(canvas: Canvas, plan: BodyPlan, patch: Patch, sign: float) -> None:
    part = patch.near((3.0, 5.0, -62.0), (60.0, 76.0, -14.0), paired=True)
    part = part.take(part.x * sign > 0)
    if not len(part):
        return
    x, y, z = part.side, part.y, part.z
    apex, eye = (13.0, 14.0, -34.0), (33.0, 52.0, -41.0)
    cone = shapes.capsule(x, y, z, apex, (33.0, 52.0, -41.0), 3.0, 17.5)
    cone = np.maximum(cone, (y - 60.0) + 0.15 * (x - 30.0))
    canvas.paint(part, "thin_bone", np.maximum(cone - 1.3, y - 56.0))
    canvas.paint(part, "fat", cone)
    muscles = [
        shapes.tube(
            x, y, z, [apex, (33.0 + dx * 0.85, 34.0, -41.0 + dz * 0.85), (33.0 + dx, 52.0, -41.0 + dz)], [1.2, 2.2, 0.8]
        )
        for dx, dz in ((13.5, 0.0), (-13.5, 0.0), (0.0, 13.0), (0.0, -13.0))
    ]
    canvas.paint(part, "muscle", np.minimum.reduce(muscles))
    nerve = shapes.tube(x, y, z, [(9.0, 8.0, -32.0), (18.0, 24.0, -38.0), (29.0, 41.0, -41.0)], [2.0, 2.0, 2.0])
    canvas.paint(part, "csf", nerve - 0.9, cover=0.7)
    canvas.paint(part, "stem", nerve)
    globe = shapes.ellipsoid(x, y, z, eye, (12.3, 12.3, 12.0))
    cornea = shapes.ellipsoid(x, y, z, (33.5, 59.0, -41.0), (6.5, 6.5, 6.5))
    globe = shapes.smooth_min(globe, cornea, 2.0)
    canvas.paint(part, "sclera", globe)
    canvas.paint(part, "vitreous", globe + 1.0)
    canvas.paint(part, "lens", shapes.ellipsoid(x, y, z, (33.5, 59.5, -41.0), (4.6, 2.2, 4.6)))
    gland = shapes.ellipsoid(x, y, z, (47.0, 54.0, -33.0), (4.0, 6.0, 6.0))
    canvas.paint(part, "gland", gland)
