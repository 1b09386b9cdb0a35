"""Scalp, muscles and the bones around the brain."""

import numpy as np

from MSLFusionLib.phantom import shapes
from MSLFusionLib.phantom.body_plan import BodyPlan, vessel_distance
from MSLFusionLib.phantom.canvas import Canvas, Patch
from MSLFusionLib.phantom.outline import Outline
from MSLFusionLib.phantom.shapes import Array, step


def paint_soft_tissue(canvas: Canvas, plan: BodyPlan, patch: Patch, outline: Outline) -> None:
    """Skin, the fat under it, muscles with fat planes between them."""
    t = plan.traits
    x, y, z, side = patch.x, patch.y, patch.z, patch.side
    depth = -outline.skin
    canvas.paint(patch, "skin", outline.skin)
    dome = step(z + 15.0, 30.0)
    canvas.paint(patch, "fat", 1.9 - depth)
    face = step(y - 10.0, 40.0) * (1.0 - dome)
    fat = t.fat_mm * (1.0 - 0.3 * dome) * (1.0 + 0.8 * face) + 1.0 * plan.broad(y, x, z)
    fat = np.clip(fat * (1.0 - 0.8 * step(y - 80.0, 12.0)), 0.8, None) + 1.9
    planes = np.abs(plan.mid(x * 0.42, y * 0.42, z * 0.28)) * 5.0 - 0.7 - 0.35 * plan.broad2(y, z, x)
    muscle = fat - depth
    canvas.paint(patch, "muscle", np.where(dome > 0.5, muscle, np.maximum(muscle, -planes)))
    # the layer of loose fat under the galea, just above the skull's dome
    galea = np.maximum(np.abs(outline.vault + outline.skull + 1.0) - 1.0, -(z - 5.0))
    canvas.paint(patch, "fat", galea, cover=0.7)
    vessel = vessel_distance(plan, patch) - 0.8
    canvas.paint(patch, "muscle", np.maximum(vessel, 2.5 - depth), cover=0.8)
    hollow = step(side - 45.0, 14.0) * step(y + 45.0, 30.0) * step(45.0 - z, 25.0) * step(z + 75.0, 30.0)
    temporalis = np.maximum(fat + 1.0 - depth, 2.0 - 10.0 * (hollow - 0.25))
    canvas.paint(patch, "muscle", temporalis)


def paint_calvarium(canvas: Canvas, plan: BodyPlan, patch: Patch, outline: Outline) -> None:
    """The dome and the base: outer and inner table, diploe between them."""
    t = plan.traits
    chosen = (outline.cavity < 6.0) & (outline.vault > -16.0) & (outline.skin < -1.0)
    part, o = patch.take(chosen), outline.take(chosen)
    if not len(part):
        return
    x, y, z, side = part.x, part.y, part.z, part.side
    below = step(-o.floor + 2.0, 6.0) * step(o.vault - 2.0, 10.0)
    base = 4.0 + 7.0 * step(22.0 - side, 12.0) * step(24.0 - y, 20.0) * step(y + 38.0, 12.0) + 1.0 * plan.broad(z, x, y)
    thickness = o.skull + below * (base - o.skull)
    outer = -o.cavity - thickness
    shell = np.maximum(outer, o.cavity - 0.6)
    canvas.paint(part, "bone", shell)
    rough = plan.cells(x, y, z)
    table = t.table_mm * (1.0 + 0.12 * plan.mid(x, y, z)) + 0.18 * rough
    middle = np.maximum(outer + table, o.cavity + table * 0.9)
    canvas.paint(part, "marrow", middle + 0.15 * rough, softness=1.5)
    fatty = np.maximum(middle + 1.0, 0.5 + rough)
    canvas.paint(part, "fat", fatty, softness=2.5, cover=0.3)
    spots = np.maximum(middle + 1.0, 0.9 - rough)
    canvas.paint(part, "thin_bone", spots, softness=2.5, cover=0.4)


def paint_inner_table(canvas: Canvas, patch: Patch, outline: Outline) -> None:
    """Close the floor of the cavity over the air spaces and sockets below it."""
    canvas.paint(patch, "bone", np.maximum(-outline.cavity - 1.3, outline.cavity - 0.6))


def paint_temporal_bone(canvas: Canvas, plan: BodyPlan, patch: Patch, outline: Outline) -> None:
    """Petrous pyramids, mastoids with air cells, ear canals and inner ears."""
    part = patch.near((4.0, -75.0, -86.0), (90.0, 20.0, -20.0), paired=True)
    if not len(part):
        return
    x, y, z, side = part.x, part.y, part.z, part.side
    rough = plan.cells(x, y, z)
    wave = plan.mid(x, y, z)
    petrous = shapes.tube(
        side, y, z, [(13.0, -12.0, -40.0), (34.0, -26.0, -44.0), (60.0, -38.0, -46.0)], [5.5, 8.0, 10.0]
    )
    petrous = petrous + 0.9 * wave
    mastoid = shapes.ellipsoid(side, y, z, (57.0, -42.0, -58.0), (12.0, 17.0, 21.0)) + 0.9 * wave
    block = shapes.smooth_min(petrous, mastoid, 6.0)
    canvas.paint(part, "bone", block)
    canvas.paint(part, "marrow", np.maximum(block + 2.5, 0.2 - rough), softness=2.0, cover=0.7)
    dense = shapes.ellipsoid(side, y, z, (36.0, -27.0, -43.0), (11.0, 6.0, 6.0))
    canvas.paint(part, "dense_bone", dense, softness=2.0)
    cells = np.maximum(mastoid + 2.0, (0.15 - 0.4 * plan.traits.pneumatisation - rough) * 1.6)
    canvas.paint(part, "inner_air", cells)
    antrum = shapes.ellipsoid(side, y, z, (50.0, -33.0, -43.0), (5.0, 5.0, 6.0))
    canvas.paint(part, "inner_air", antrum)
    canal = shapes.capsule(side, y, z, (47.0, -24.0, -48.0), (80.0, -27.0, -50.0), 2.6, 3.6)
    canvas.paint(part, "bone", np.maximum(canal - 3.0, side - 66.0))
    canvas.paint(part, "skin", np.maximum(canal - 1.2, side - 74.0))
    canvas.paint(part, "inner_air", canal)
    cochlea = shapes.ellipsoid(side, y, z, (33.0, -21.0, -44.0), (2.6, 2.6, 2.2))
    ring = np.hypot(np.hypot(side - 40.0, y + 30.0) - 4.0, z + 40.0) - 0.8
    meatus = shapes.capsule(side, y, z, (22.0, -26.0, -42.0), (32.0, -24.0, -43.0), 2.6, 2.0)
    canvas.paint(part, "csf", np.minimum(np.minimum(cochlea, ring), meatus))


def paint_spine(canvas: Canvas, plan: BodyPlan, patch: Patch) -> None:
    """Occipital condyles, atlas and dens around the spinal canal."""
    part = patch.near((-60.0, -100.0, -130.0), (60.0, 0.0, -60.0))
    if not len(part):
        return
    x, y, z, side = part.x, part.y, part.z, part.side
    rough = plan.cells(x, y, z)
    condyle = shapes.ellipsoid(side, y, z, (20.0, -30.0, -72.0), (7.5, 11.0, 7.0))
    atlas = shapes.ellipsoid(side, y, z, (22.0, -30.0, -87.0), (9.0, 9.0, 8.0))
    wing = shapes.capsule(side, y, z, (26.0, -32.0, -88.0), (42.0, -36.0, -88.0), 5.0, 4.0)
    arch = np.abs(np.hypot(x, (y + 42.0) * 0.85) - 24.0) - 3.5
    arch = np.maximum(arch, np.abs(z + 89.0) - 4.5)
    dens = shapes.capsule(x, y, z, (0.0, -24.0, -82.0), (0.0, -24.0, -112.0), 5.0, 8.0)
    bones: Array = np.minimum.reduce([condyle, atlas, wing, arch, dens])
    canvas.paint(part, "bone", bones)
    canvas.paint(part, "marrow", bones + 1.8 + 0.4 * rough, softness=1.5)
    way = (-42.0 - 0.12 * (z + 66.0)).astype(np.float32)
    canal = np.maximum(np.hypot(x / 1.12, y - way) - 14.5, z + 58.0)
    canvas.paint(part, "soft_tissue", canal)
    canvas.paint(part, "csf", canal + 2.5)
