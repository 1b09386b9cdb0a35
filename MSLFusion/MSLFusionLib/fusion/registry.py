"""All fusion methods by the name that a user types."""

from MSLFusionLib.errors import InputError
from MSLFusionLib.fusion import blend, guided, learned, scales
from MSLFusionLib.fusion.interface import Method, Parameter

PYWAVELETS = "PyWavelets"
MODEL = "a DC2Fusion model for the two modalities"

_LEVELS = Parameter("levels", 4, "how many times the size is halved, where it allows", 1, 8)

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "alpha",
            "Alpha blending",
            "The weighted mean of both.",
            blend.alpha,
            (Parameter("weight", 0.5, "share of the second image"),),
        ),
        Method("maximum", "Maximum", "The larger value of both, voxel by voxel.", blend.maximum),
        Method("pca", "PCA weights", "The weighted mean, with weights from the principal axis of both.", blend.pca),
        Method(
            "laplacian",
            "Laplacian pyramid",
            "Of every detail the stronger one, of the coarsest scale the mean.",
            scales.laplacian,
            (_LEVELS,),
        ),
        Method(
            "wavelet",
            "Wavelets",
            "Of every wavelet coefficient the stronger one, of the approximation the mean.",
            scales.wavelet,
            (
                Parameter("levels", 3, "how many times the size is halved, where it allows", 1, 8),
                Parameter("wavelet", "sym4", "its name in PyWavelets"),
            ),
            needs=PYWAVELETS,
        ),
        Method(
            "guided",
            "Guided filter",
            "Base and details weighed by saliency, with weights that follow the edges.",
            guided.guided,
            (
                Parameter("base_mm", 15.0, "half-width of the mean that splits base and details", 1.0, 100.0),
                Parameter("weight_mm", 45.0, "half-width of the filter of the bases' weights", 1.0, 200.0),
                Parameter("detail_mm", 7.0, "half-width of the filter of the details' weights", 1.0, 100.0),
                Parameter("saliency_mm", 5.0, "how far the saliency is smoothed", 0.5, 50.0),
            ),
        ),
        Method(
            "overlay",
            "Colour overlay",
            "The first in grey, the second over it in colour; gives a colour volume.",
            blend.overlay,
            (
                Parameter("opacity", 0.7, "of the colour at its strongest"),
                Parameter("colours", "heat", "of the second image", choices=tuple(blend.COLOURS)),
            ),
            colour=True,
        ),
        Method(
            learned.ARCHITECTURE,
            "DC2Fusion",
            "A network that lets each volume look into the other where they correspond.",
            learned.dc2fusion,
            (
                Parameter("model", "", "name or file; empty: the installed one for the two modalities"),
                Parameter("device", "auto", "where it runs: auto, cpu or cuda[:N]"),
                Parameter("block", 96, "voxels a side that it works on at a time; does not change the result", 8, 1024),
            ),
            needs=MODEL,
        ),
    )
}


def find(name: str) -> Method:
    """The method called `name`; raises InputError, with the names there are, when there is none."""
    if name not in METHODS:
        raise InputError(f"There is no fusion method '{name}': use one of {', '.join(METHODS)}.")
    return METHODS[name]
