"""Where the body is in a CT or MR volume, and CT values that are not Hounsfield units.

CT: everything above -300 HU, with enclosed air filled in slice by slice, that holds together after thin structures
(table tops, head holders, wires) are taken away. MR: Li's minimum cross-entropy threshold, filled in likewise, and
its large parts; thin ones are kept there, because a scalp may be seen apart from the brain. Outside the body nothing
is measured: what lies there can be set to air before sensors are simulated.
"""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from MSLFusionLib.errors import InputError
from MSLFusionLib.progress import NO_JOB, Job

BODY_HU = -300.0
_AIR_HU = -1000.0
_SOFT_TISSUE_HU = 40.0
_PADDING_HU = -1100.0
_THIN_MM = 4.0
_COARSE_MM = 1.6
_SMALL_PART = 0.1
_SAMPLES = 2_000_000


@dataclass(frozen=True)
class HounsfieldScale:
    """How stored CT values become HU: piecewise linear through `knots` (value, HU), clipped to -1024 below.

    None: the values are HU already.
    """

    knots: tuple[tuple[float, float], ...] | None = None

    def to_hu(self, values: np.ndarray) -> np.ndarray:
        """HU, float32, of stored values of any shape; beyond the last knot the last slope goes on."""
        if self.knots is None:
            return np.maximum(values.astype(np.float32), np.float32(-1024.0))
        stored, hu = np.array(self.knots).T
        result = np.interp(values, stored, hu)
        slope = (hu[-1] - hu[-2]) / (stored[-1] - stored[-2])
        result += np.maximum(values - stored[-1], 0.0) * slope
        return result.astype(np.float32)

    def to_stored(self, hu: float) -> float:
        """The stored value (inside the knots) that stands for `hu`."""
        if self.knots is None:
            return hu
        stored, levels = np.array(self.knots).T
        return float(np.interp(hu, levels, stored))


def hounsfield_scale(ct: sitk.Image, job: Job = NO_JOB) -> HounsfieldScale:
    """Decide whether a CT volume holds HU; where it cannot, warn and give the scale that is assumed.

    A CT in HU has air near -1000 (or padding below -1024), or is cut from inside the body, with fat below 0 and
    its middle near 0. Otherwise three cases are told apart by how far the middle of the tissue lies above the
    lowest value: about 1000, HU stored with an offset; 2100 to 2900 in a range of at most 4600, "Cormack units" of
    the Clinical Toolbox templates (Rorden et al., NeuroImage 61:957, 2012), in which -100..100 HU is stretched
    elevenfold; anything else is stretched so that the lowest value is air and the middle of the tissue +40 HU.
    Raises InputError when the volume is constant.
    """
    values = _sample(ct)
    low, high = float(values.min()), float(values.max())
    if not high > low:
        raise InputError(f"The CT volume is constant ({low:g} everywhere): there is nothing to reconstruct.")
    if np.count_nonzero(values < -700.0) >= 0.001 * values.size or _inside_body(values):
        return HounsfieldScale()
    tissue = float(np.median(values[values > _otsu(values)])) - low
    if 850.0 <= tissue <= 1300.0:
        meaning = f"HU stored with an offset of {-_AIR_HU + low:.0f}"
        knots = [(low, _AIR_HU), (low + 1000.0, 0.0)]
    elif 2100.0 <= tissue <= 2900.0 and high - low <= 4600.0:
        meaning = "Cormack units (-100 to 100 HU stretched elevenfold)"
        knots = [(low, _AIR_HU), (low + 900.0, -100.0), (low + 3100.0, 100.0), (low + 3600.0, 600.0)]
    else:
        meaning = f"linear with {low:g} as air and {low + tissue:g} as soft tissue (40 HU)"
        knots = [(low, _AIR_HU), (low + tissue, _SOFT_TISSUE_HU)]
    job.warning(
        f"The CT has no values near -1000 (range {low:g} to {high:g}), so it is not in HU; it is read as {meaning}."
    )
    return HounsfieldScale(tuple(knots))


def _inside_body(values: np.ndarray) -> bool:
    """Whether values without air may still be HU: a range of tissue, and no heap of clipped air at its low end."""
    low, high, middle = float(values.min()), float(values.max()), float(np.median(values))
    clipped = np.count_nonzero(values <= low) > 0.02 * values.size
    return low < 0 and high - low > 300 and abs(middle) <= 150 and not clipped


def body_mask(
    image: sitk.Image, modality: str, scale: HounsfieldScale | None = None, slice_axis: int = 0, job: Job = NO_JOB
) -> np.ndarray:
    """Boolean mask (z, y, x) of the body in a "ct" or "mr" volume.

    scale: the CT's `hounsfield_scale` (found when None). slice_axis: array axis across which air inside the body
    is filled slice by slice. Where nothing is found the whole volume is taken, with a warning. Raises InputError
    for a constant volume or another modality, Cancelled.
    """
    array = sitk.GetArrayViewFromImage(image)
    if modality == "ct":
        scale = scale or hounsfield_scale(image, job)
        threshold = scale.to_stored(BODY_HU)
    elif modality == "mr":
        threshold = _li(_sample(image))
    else:
        raise InputError(f"The modality must be ct or mr, not {modality!r}.")
    spacing = image.GetSpacing()[::-1]
    found = np.zeros(array.shape, bool)
    np.greater(array, threshold, out=found)
    _fill_holes(found, slice_axis, job)
    mask = _connected(found, spacing, slice_axis, _THIN_MM if modality == "ct" else 0.0, job)
    _fill_holes(mask, slice_axis, job)
    if not mask.any():
        job.warning(f"No body was found in the {modality.upper()} volume; all of the volume is used.")
        mask[:] = True
    return mask


def _connected(found: np.ndarray, spacing: tuple[float, ...], slice_axis: int, thin_mm: float, job: Job) -> np.ndarray:
    """The large parts that remain connected when structures thinner than twice `thin_mm` are taken away.

    Worked out on a grid of about 1.6 mm and then grown back to the full mask, so that it costs little.
    """
    steps = [max(1, int(_COARSE_MM / mm)) for mm in spacing]
    coarse = found[tuple(slice(None, None, step) for step in steps)]
    coarse_mm = [mm * step for mm, step in zip(spacing, steps, strict=True)]
    cross = ndimage.generate_binary_structure(3, 1)
    planar = np.zeros_like(cross)
    np.moveaxis(planar, slice_axis, 0)[1] = True
    disc, square, line = cross & planar, planar, cross & ~planar
    line[1, 1, 1] = True
    # Within slices and across them, each with as many voxels as make up the thickness.
    in_plane = max(1, round(thin_mm / max(mm for axis, mm in enumerate(coarse_mm) if axis != slice_axis)))
    across = round(thin_mm / coarse_mm[slice_axis])
    core = coarse
    if thin_mm:
        core = _eroded(_eroded(core, disc, in_plane), line, across)
    job.check()
    labels, count = ndimage.label(core)
    if count == 0:
        labels, count = ndimage.label(coarse)
    if count == 0:
        return np.zeros_like(found)
    sizes = np.bincount(labels.ravel())[1:]
    grown = np.concatenate([[False], sizes >= _SMALL_PART * sizes.max()])[labels]
    job.check()
    # Squares reach back into corners that discs do not.
    grown = ndimage.binary_dilation(grown, square, iterations=(in_plane if thin_mm else 0) + 1)
    grown = ndimage.binary_dilation(grown, line, iterations=(across if thin_mm else 0) + 1)
    job.check()
    for axis, step in enumerate(steps):
        grown = np.repeat(grown, step, axis=axis)
    grown = grown[tuple(slice(0, n) for n in found.shape)]
    return np.logical_and(grown, found, out=np.ascontiguousarray(grown))


def _eroded(mask: np.ndarray, element: np.ndarray, rounds: int) -> np.ndarray:
    """The mask eroded `rounds` times, not from the volume's borders, beyond which the body may go on."""
    return ndimage.binary_erosion(mask, element, iterations=rounds, border_value=1) if rounds else mask


def _fill_holes(mask: np.ndarray, slice_axis: int, job: Job) -> None:
    """Fill what the body encloses, slice by slice, in place."""
    for plane in np.moveaxis(mask, slice_axis, 0):
        job.check()
        plane[...] = ndimage.binary_fill_holes(plane)


def _sample(image: sitk.Image) -> np.ndarray:
    """At most two million of the volume's values, evenly spread, without padding far below air."""
    flat = sitk.GetArrayViewFromImage(image).ravel()
    return flat[:: max(1, flat.size // _SAMPLES)].astype(np.float32)


def _otsu(values: np.ndarray) -> float:
    """Otsu's threshold over 256 bins between the lowest value and the 99.5th percentile."""
    return _threshold(values, sitk.OtsuThresholdImageFilter())


def _li(values: np.ndarray) -> float:
    """Li's minimum cross-entropy threshold over the same bins."""
    return _threshold(values, sitk.LiThresholdImageFilter())


def _threshold(values: np.ndarray, method: sitk.ImageFilter) -> float:
    low, high = float(values.min()), float(np.percentile(values, 99.5))
    if not high > low:
        raise InputError(f"The volume is constant ({low:g} almost everywhere): there is nothing to reconstruct.")
    # Li's iteration stops at steps of half a grey value, so it needs a scale of many of them.
    grey = (np.clip(values, low, high) - low) * (1000.0 / (high - low))
    method.SetNumberOfHistogramBins(256)
    method.Execute(sitk.GetImageFromArray(grey[None, :]))
    return low + float(method.GetThreshold()) * (high - low) / 1000.0
