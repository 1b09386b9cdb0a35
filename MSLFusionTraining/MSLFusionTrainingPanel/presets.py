"""The presets in words: what each is, and what it needs."""

from slicer.i18n import tr as _

from MSLFusionTrainingLib.config import PRESETS


def rows() -> list[tuple[str, str]]:
    """Name and label of each preset."""
    labels = {
        "paper": _("Paper (as the text says)"),
        "official": _("Official (as the authors' code does)"),
        "msl": _("MSL (ours, full size)"),
        "msl-lite": _("MSL compact (ours, small)"),
    }
    return [(name, labels.get(name, name)) for name in ("msl-lite", "msl", "paper", "official") if name in PRESETS]


def in_words(name: str) -> str:
    """What a preset is and needs, in a sentence or two."""
    return {
        "paper": _(
            "The network and the training that the text of Zhu et al. describes: 64 views, a quarter of k-space, Adam "
            "halved every 10,000 of 100,000 iterations. To repeat the publication. 47 million weights: it needs a GPU."
        ),
        "official": _(
            "What the authors' public code computes, its one mask and its auxiliary pass included. To compare with "
            "their weights. 39 million weights: it needs a GPU."
        ),
        "msl": _(
            "Our network at the paper's size, trained on 32 to 128 views, half to an eighth of k-space, noise and "
            "augmented slices, so that it serves for many scanners. 46 million weights: it needs a GPU."
        ),
        "msl-lite": _(
            "The training of MSL for a compact network of 2.2 million weights: the shipped model's. The only one to "
            "try without a GPU; few iterations and a crop (Every setting) keep it short there."
        ),
    }.get(name, "")
