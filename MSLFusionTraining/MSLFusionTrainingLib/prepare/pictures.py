"""What the quality page shows of a patient: slices before and after the registration, and histograms."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import SimpleITK as sitk

from MSLFusionLib.recon.slices import Modality, NetworkSlices

BINS = 64
_FIELDS = 8
_MARGIN_MM = 8.0


def histogram(values: np.ndarray) -> np.ndarray:
    """How many of some values in [0, 1] fall into each of BINS bins."""
    return np.histogram(values, BINS, (0.0, 1.0))[0].astype(np.float64)


def montage(
    seen: NetworkSlices, modalities: Sequence[str], before: Sequence[sitk.Image], numbers: Sequence[int]
) -> bytes:
    """PNG: for each modality after the first, one slice and one cut across the slices.

    Side by side: the first modality, the other one as registered, and both in the fields of a checkerboard as the
    files place them (before) and as registered (after).
    """
    views = _Views(seen, numbers[len(numbers) // 2])
    first = views.of(seen.modalities[0])
    panels = []
    for name, modality, image in zip(modalities[1:], seen.modalities[1:], before[1:], strict=True):
        unplaced = Modality(
            modality.kind, seen.grid.turned(sitk.GetArrayViewFromImage(image)), modality.scale, mask=None
        )
        after, earlier = views.of(modality), views.of(unplaced)
        for view in range(2):
            panels += _row(modalities[0].upper(), name.upper(), first[view], after[view], earlier[view], views, view)
    return _drawn(panels)


def montage_of_slices(slices: np.ndarray, modalities: Sequence[str]) -> bytes:
    """PNG of slices that came without volumes, uint16 (n, modalities, H, W): three of them, each modality."""
    from MSLFusionLib.report.figures import Panel

    chosen = sorted({round((len(slices) - 1) * share) for share in (0.25, 0.5, 0.75)})
    extent = (float(slices.shape[-1]), float(slices.shape[-2]))
    pictures = [(name.upper(), slices[n, m] / 65535, n) for n in chosen for m, name in enumerate(modalities)]
    return _drawn([Panel(name, image, extent, note=f"slice {n + 1}") for name, image, n in pictures])


class _Views:
    """A slice on the network's grid and a cut across the slices through the middle of the body."""

    def __init__(self, seen: NetworkSlices, number: int) -> None:
        self.grid, self.number = seen.grid, number
        body = seen.grid.turned(seen.body)
        self.row = int(np.median(np.nonzero(body.any(axis=(0, 2)))[0]))
        slice_mm = seen.grid.volume.spacing[2 - seen.grid.slice_axis]
        anywhere = np.asarray(body.any(axis=0), np.float32)
        seen_body = seen.grid.to_network(anywhere[None])[0] > 0
        self.box = _box(seen_body, round(_MARGIN_MM / seen.grid.pixel_mm))
        height, width = (side.stop - side.start for side in self.box)
        self.extents = (
            (width * seen.grid.pixel_mm, height * seen.grid.pixel_mm),
            (body.shape[2] * seen.grid.spacing[1], body.shape[0] * slice_mm),
        )
        cosines = np.array(seen.grid.volume.direction).reshape(3, 3)[:, 2 - seen.grid.slice_axis]
        self.up = bool(cosines[np.argmax(np.abs(cosines))] > 0)

    def of(self, modality: Modality) -> tuple[np.ndarray, np.ndarray]:
        """Both views of a modality, in [0, 1]."""
        plane = self.grid.to_network(modality.values(np.array([self.number])))[0]
        mask = None if modality.mask is None else modality.mask[:, self.row : self.row + 1]
        cut = Modality(modality.kind, modality.array[:, self.row : self.row + 1], modality.scale, mask)
        across = cut.values(np.arange(self.grid.slices))[:, 0]
        return plane[self.box], across[::-1] if self.up else across


def _box(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    """The mask's bounding box and a margin."""
    sides = []
    for axis in range(2):
        hit = np.flatnonzero(mask.any(axis=1 - axis))
        sides.append(slice(max(0, int(hit[0]) - margin), min(mask.shape[axis], int(hit[-1]) + 1 + margin)))
    return sides[0], sides[1]


def _row(
    first: str, other: str, fixed: np.ndarray, after: np.ndarray, before: np.ndarray, views: _Views, view: int
) -> list[Any]:
    from MSLFusionLib.report.figures import Panel, checkerboard

    extent = views.extents[view]
    note = f"slice {views.number + 1}" if view == 0 else "across the slices"
    return [
        Panel(first, fixed, extent, note=note),
        Panel(f"{other}, registered", after, extent),
        Panel(f"{first} and {other}, before", checkerboard(fixed, before, _FIELDS), extent),
        Panel(f"{first} and {other}, after", checkerboard(fixed, after, _FIELDS), extent),
    ]


def _drawn(panels: list[Any]) -> bytes:
    from MSLFusionLib.report.figures import panel_row

    rows = [panel_row(panels[start : start + 4]) for start in range(0, len(panels), 4)]
    return rows[0] if len(rows) == 1 else stacked(rows)


def stacked(pngs: Sequence[bytes]) -> bytes:
    """Grey PNGs of one width below each other as one 8-bit PNG."""
    import io

    from matplotlib import image

    from MSLFusionLib.report.png import grey_png

    pictures = [image.imread(io.BytesIO(png))[..., :3].mean(axis=2) for png in pngs]
    return grey_png(np.concatenate(pictures, axis=0))
