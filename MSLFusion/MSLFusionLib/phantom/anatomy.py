"""One head as a function of position: physical points in, intensities and labels out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MSLFusionLib.phantom.body_plan import BodyPlan
from MSLFusionLib.phantom.canvas import Canvas, Patch
from MSLFusionLib.phantom.cerebrum import paint_cerebrum, paint_fluid
from MSLFusionLib.phantom.deep_brain import paint_deep_brain
from MSLFusionLib.phantom.face import paint_face
from MSLFusionLib.phantom.hindbrain import paint_hindbrain
from MSLFusionLib.phantom.outline import Outline, measure
from MSLFusionLib.phantom.pathology import Tumour, paint_metal, paint_tumour
from MSLFusionLib.phantom.shapes import Array
from MSLFusionLib.phantom.skull import (
    paint_calvarium,
    paint_inner_table,
    paint_soft_tissue,
    paint_spine,
    paint_temporal_bone,
)
from MSLFusionLib.phantom.tissues import TissueTable
from MSLFusionLib.phantom.vessels import paint_arteries, paint_calcifications, paint_falx, paint_pial_vessels


@dataclass(frozen=True)
class Sample:
    """The head at n points: ct [HU], t1, t2, pet [relative, 0 to about 1.5] float32 and labels uint8."""

    ct: Array
    t1: Array
    t2: Array
    pet: Array
    labels: NDArray[np.uint8]


class Anatomy:
    """The head of one seed.

    tumour: None leaves it to the seed (about one head in five), True or False decides.
    """

    def __init__(self, seed: int, tumour: bool | None = None, metal: bool = False) -> None:
        self.plan = BodyPlan(seed)
        self.table = TissueTable(self.plan.tissue_rng)
        self.tumour = Tumour.of_seed(seed, tumour)
        self.metal = metal

    def sample(self, x: Array, y: Array, z: Array, edge_mm: float) -> Sample:
        """Evaluate at physical LPS points (flat float32 arrays, mm); edges are soft over `edge_mm`."""
        n = len(x)
        canvas = Canvas(n, self.table, edge_mm)
        near = np.flatnonzero((np.abs(x) < 96.0) & (np.abs(y) < 132.0))
        patch = Patch(near, *self.plan.to_anatomy(x[near], y[near], z[near]))
        texture = np.zeros(n, np.float32)
        slow = np.zeros(n, np.float32)
        if len(patch):
            outline = measure(self.plan, patch)
            chosen = outline.skin < edge_mm
            patch, outline = patch.take(chosen), outline.take(chosen)
        if len(patch):
            self._paint(canvas, patch, outline)
            texture[patch.index] = self.plan.texture(patch.x, patch.y, patch.z)
            slow[patch.index] = self._slow(patch)
        ct, t1, t2, pet = canvas.values
        tissue = canvas.tissue
        ct = np.clip(ct + texture * self.table.ct_texture[tissue], -1000.0, 3500.0)
        factor = 1.0 + (texture + slow) * self.table.mr_texture[tissue]
        return Sample(ct, t1 * factor, t2 * factor, pet * factor, self.table.labels[tissue])

    def _slow(self, patch: Patch) -> Array:
        """Variation within a tissue over centimetres, on top of the fine texture (unit: the fine one's)."""
        x, y, z = patch.x, patch.y, patch.z
        return 0.7 * self.plan.mid(x + 7.0, y + 3.0, z - 9.0) + 0.9 * self.plan.broad(z, x, y)

    def _paint(self, canvas: Canvas, patch: Patch, outline: Outline) -> None:
        plan = self.plan
        paint_soft_tissue(canvas, plan, patch, outline)
        paint_spine(canvas, plan, patch)
        paint_calvarium(canvas, plan, patch, outline)
        paint_face(canvas, plan, patch, outline)
        paint_inner_table(canvas, patch, outline)
        paint_temporal_bone(canvas, plan, patch, outline)
        inside = outline.cavity > -3.0
        brain, o = patch.take(inside), outline.take(inside)
        if len(brain):
            paint_fluid(canvas, plan, brain, o)
            paint_cerebrum(canvas, plan, brain, o)
            paint_deep_brain(canvas, plan, brain)
            paint_falx(canvas, plan, brain, o)
            paint_pial_vessels(canvas, plan, brain)
            paint_calcifications(canvas, plan, brain)
        paint_hindbrain(canvas, plan, patch, outline)
        paint_arteries(canvas, plan, patch)
        if self.tumour is not None:
            paint_tumour(canvas, plan, patch, self.tumour)
        if self.metal:
            paint_metal(canvas, plan, patch, outline)
