"""Arteries, venous sinuses, falx and the calcifications that age brings."""

import numpy as np

from MSLFusionLib.phantom import shapes
from MSLFusionLib.phantom.body_plan import BodyPlan, vessel_distance
from MSLFusionLib.phantom.canvas import Canvas, Patch
from MSLFusionLib.phantom.cerebrum import midline
from MSLFusionLib.phantom.outline import Outline


def paint_falx(canvas: Canvas, plan: BodyPlan, patch: Patch, outline: Outline) -> None:
    """Falx with its calcified spots and the superior sagittal and transverse sinuses."""
    chosen = (patch.side < 12.0) & (outline.cavity > -2.0)
    part, cavity = patch.take(chosen), outline.cavity[chosen]
    if len(part):
        x, y, z = part.x, part.y, part.z
        bend = midline(plan, part)
        sheet = np.abs(x - bend) - 0.55
        reach = np.sqrt(((y + 5.0) / 48.0) ** 2 + ((z - 2.0) / 35.0) ** 2) - 1.0
        falx = np.maximum(np.maximum(sheet, -reach * 30.0), -cavity)
        falx = np.maximum(falx, np.maximum(-20.0 - z, 3.0 + 0.58 * (np.minimum(y, -48.0) + 48.0) - z))
        canvas.paint(part, "dura", falx)
        if plan.traits.calcified > 0.45:
            spots = np.maximum(sheet - 0.5, (1.5 - plan.mid(x * 0.5, y, z)) * 4.0)
            canvas.paint(part, "calcification", np.maximum(spots, np.maximum(falx - 0.5, 25.0 - z)))
        top = np.maximum(np.abs(x - bend) * 0.9 + (cavity - 0.5) * 0.75 - 5.0, -cavity)
        above = np.maximum(top, np.maximum(-4.0 - z, y - 60.0))
        canvas.paint(part, "sinus_vein", above)
    low = patch.near((-70.0, -112.0, -50.0), (70.0, -30.0, 2.0))
    if len(low):
        line = shapes.tube(
            low.side,
            low.y,
            low.z,
            [
                (2.0, -103.0, -12.0),
                (30.0, -95.0, -22.0),
                (54.0, -66.0, -34.0),
                (52.0, -48.0, -48.0),
                (34.0, -40.0, -62.0),
            ],
            [4.0, 4.2, 4.2, 4.0, 4.0],
        )
        canvas.paint(low, "sinus_vein", line)
    straight = patch.near((-5.0, -104.0, -30.0), (5.0, -36.0, 12.0))
    if len(straight):
        line = shapes.tube(
            straight.x,
            straight.y,
            straight.z,
            [(0.0, -42.0, 6.0), (0.0, -60.0, -4.0), (0.0, -102.0, -14.0)],
            [1.8, 2.0, 3.0],
        )
        canvas.paint(straight, "sinus_vein", line)


def paint_arteries(canvas: Canvas, plan: BodyPlan, patch: Patch) -> None:
    """Carotids, basilar and the circle of Willis with its main branches."""
    part = patch.near((-60.0, -80.0, -130.0), (60.0, 55.0, 40.0))
    if not len(part):
        return
    wave = 1.2 * plan.mid(part.x * 0.8, part.y * 0.8, part.z * 0.8)
    side, y, z = np.abs(part.x + wave), part.y + wave, part.z - wave
    name = "bright_artery" if plan.traits.flow_bright else "artery"
    carotid = shapes.tube(
        side,
        y,
        z,
        [
            (30.0, -20.0, -120.0),
            (28.0, -22.0, -62.0),
            (26.0, -14.0, -48.0),
            (13.0, -6.0, -42.0),
            (10.0, 6.0, -32.0),
            (13.0, 2.0, -22.0),
        ],
        [2.7, 2.6, 2.4, 2.4, 2.2, 2.0],
    )
    canvas.paint(part, name, carotid)
    middle = shapes.tube(
        side,
        y,
        z,
        [(13.0, 2.0, -20.0), (26.0, 4.0, -17.0), (38.0, 3.0, -12.0), (41.0, -8.0, 2.0), (46.0, -22.0, 10.0)],
        [1.7, 1.6, 1.4, 1.1, 0.7],
    )
    anterior = shapes.tube(
        side,
        y,
        z,
        [
            (13.0, 3.0, -20.0),
            (3.0, 16.0, -16.0),
            (1.5, 32.0, -8.0),
            (1.5, 39.0, 8.0),
            (1.5, 26.0, 26.0),
            (1.5, 0.0, 32.0),
        ],
        [1.3, 1.2, 1.1, 1.1, 0.9, 0.7],
    )
    posterior = shapes.tube(
        side,
        y,
        z,
        [(1.0, -11.0, -20.0), (12.0, -14.0, -17.0), (19.0, -28.0, -12.0), (12.0, -48.0, -4.0)],
        [1.5, 1.3, 1.2, 0.8],
    )
    basilar = shapes.tube(
        part.x,
        y,
        z,
        [(0.0, -10.5, -20.0), (1.0, -10.5, -36.0), (4.0, -22.0, -50.0), (14.0, -32.0, -72.0), (24.0, -30.0, -110.0)],
        [1.8, 1.8, 1.6, 1.6, 1.7],
    )
    canvas.paint(part, name, np.minimum.reduce([middle, anterior, posterior, basilar]))


def paint_calcifications(canvas: Canvas, plan: BodyPlan, patch: Patch) -> None:
    """Pineal gland, choroid plexus and pallidum: bright in CT, hardly seen in MR."""
    c = plan.traits.calcified
    part = patch.near((-40.0, -60.0, -15.0), (40.0, 20.0, 30.0))
    if not len(part):
        return
    x, y, z, side = part.x, part.y, part.z, part.side
    rough = plan.cells(x, y, z)
    canvas.paint(part, "soft_tissue", shapes.ellipsoid(x, y, z, (0.0, -34.0, 3.0), (3.0, 4.5, 3.0)))
    if c > 0.25:
        pineal = shapes.ellipsoid(x, y, z, (0.5, -34.0, 3.0), (0.8 + 1.6 * c, 1.0 + 2.2 * c, 0.8 + 1.5 * c))
        canvas.paint(part, "calcification", pineal + 0.5 * rough)
    if c > 0.4:
        plexus = shapes.ellipsoid(side, y, z, (24.0, -43.0, 6.0), (2.6 * c, 3.6 * c, 3.2 * c))
        canvas.paint(part, "calcification", plexus + 1.0 * rough)
    if c > 0.8:
        pallidum = shapes.ellipsoid(side, y, z, (20.0, -2.0, 0.0), (3.0, 5.0, 3.0))
        canvas.paint(part, "calcification", pallidum + 1.2 - 0.9 * rough, cover=0.5, softness=2.0)


def paint_pial_vessels(canvas: Canvas, plan: BodyPlan, patch: Patch) -> None:
    """Small vessels that run through the fluid over the brain and in its sulci."""
    fluid = patch.take(canvas.is_any(patch, ("csf",)) & (patch.z > -30.0) & (patch.side > 1.5))
    fluid = fluid.take((fluid.side > 30.0) | (fluid.z > 32.0) | (fluid.y < -60.0) | (fluid.y > 35.0))
    if len(fluid):
        name = "bright_artery" if plan.traits.flow_bright else "artery"
        canvas.paint(fluid, name, vessel_distance(plan, fluid) - 0.9)
