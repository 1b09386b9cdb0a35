"""What the generated head is made of: labels and the intensities of each tissue."""

from dataclasses import dataclass

import numpy as np

LABELS: dict[str, int] = {
    "background": 0,
    "skin": 1,
    "fat": 2,
    "muscle": 3,
    "cortical_bone": 4,
    "marrow": 5,
    "csf": 6,
    "grey_matter": 7,
    "white_matter": 8,
    "deep_grey": 9,
    "eye": 10,
    "vessel": 11,
    "calcification": 12,
    "inner_air": 13,
    "soft_tissue": 14,
    "tumour": 15,
    "oedema": 16,
    "metal": 17,
    "tooth": 18,
}
"""Name -> value in the label volume. `inner_air` is air in sinuses, airways and ear canals."""

CHANNELS = ("ct", "t1", "t2", "pet")


@dataclass(frozen=True)
class Tissue:
    """One tissue: its label, CT [HU], T1, T2 and PET [relative, white matter T1 = 0.75] and texture.

    ct_texture is a standard deviation in HU, mr_texture one relative to the MR and PET intensity;
    spread is how much (relative; for CT in HU) the mean varies from head to head.
    """

    name: str
    label: str
    ct: float
    t1: float
    t2: float
    pet: float
    ct_texture: float = 3.0
    mr_texture: float = 0.03
    ct_spread: float = 2.0
    mr_spread: float = 0.05


_TISSUES = (
    Tissue("air", "background", -1000, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    Tissue("inner_air", "inner_air", -1000, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    Tissue("skin", "skin", 45, 0.45, 0.32, 0.22, 8.0, 0.08, 8.0, 0.15),
    Tissue("fat", "fat", -92, 0.95, 0.62, 0.10, 8.0, 0.06, 6.0, 0.10),
    Tissue("muscle", "muscle", 55, 0.40, 0.20, 0.22, 6.0, 0.08, 5.0, 0.10),
    Tissue("soft_tissue", "soft_tissue", 40, 0.42, 0.42, 0.25, 6.0, 0.08, 5.0, 0.12),
    Tissue("gland", "soft_tissue", 20, 0.58, 0.45, 0.35, 10.0, 0.10, 10.0, 0.10),
    Tissue("mucosa", "soft_tissue", 35, 0.42, 0.70, 0.30, 6.0, 0.08, 5.0, 0.12),
    Tissue("dura", "soft_tissue", 55, 0.28, 0.18, 0.20, 4.0, 0.05, 4.0, 0.10),
    Tissue("bone", "cortical_bone", 1350, 0.05, 0.04, 0.08, 90.0, 0.10, 120.0, 0.20),
    Tissue("thin_bone", "cortical_bone", 750, 0.10, 0.08, 0.08, 90.0, 0.10, 100.0, 0.20),
    Tissue("dense_bone", "cortical_bone", 1800, 0.03, 0.03, 0.05, 100.0, 0.10, 100.0, 0.20),
    Tissue("marrow", "marrow", 420, 0.52, 0.32, 0.20, 90.0, 0.12, 90.0, 0.18),
    Tissue("csf", "csf", 8, 0.16, 0.95, 0.10, 1.5, 0.02, 2.0, 0.06),
    Tissue("grey", "grey_matter", 38, 0.46, 0.53, 0.95, 2.5, 0.025, 1.5, 0.04),
    Tissue("white", "white_matter", 28, 0.72, 0.36, 0.38, 2.0, 0.02, 1.5, 0.03),
    Tissue("stem", "white_matter", 30, 0.66, 0.38, 0.50, 2.0, 0.03, 1.5, 0.03),
    Tissue("cerebellar_grey", "grey_matter", 38, 0.52, 0.50, 0.80, 2.5, 0.03, 1.5, 0.04),
    Tissue("striatum", "deep_grey", 38, 0.51, 0.47, 1.00, 2.0, 0.025, 1.5, 0.04),
    Tissue("thalamus", "deep_grey", 36, 0.58, 0.43, 0.90, 2.0, 0.03, 1.5, 0.04),
    Tissue("pallidum", "deep_grey", 40, 0.66, 0.32, 0.65, 3.0, 0.03, 2.0, 0.05),
    Tissue("vitreous", "eye", 10, 0.14, 0.95, 0.05, 2.0, 0.02, 3.0, 0.06),
    Tissue("lens", "eye", 75, 0.45, 0.22, 0.10, 3.0, 0.03, 8.0, 0.10),
    Tissue("sclera", "eye", 55, 0.38, 0.22, 0.20, 4.0, 0.04, 4.0, 0.10),
    Tissue("artery", "vessel", 46, 0.06, 0.04, 0.45, 2.0, 0.10, 4.0, 0.30),
    Tissue("bright_artery", "vessel", 46, 0.90, 0.05, 0.45, 2.0, 0.06, 4.0, 0.10),
    Tissue("sinus_vein", "vessel", 56, 0.35, 0.15, 0.45, 2.0, 0.10, 5.0, 0.40),
    Tissue("calcification", "calcification", 220, 0.36, 0.18, 0.30, 40.0, 0.08, 60.0, 0.15),
    Tissue("tumour", "tumour", 36, 0.38, 0.72, 1.10, 4.0, 0.06, 4.0, 0.10),
    Tissue("necrosis", "tumour", 18, 0.22, 0.90, 0.15, 3.0, 0.05, 4.0, 0.08),
    Tissue("tumour_rim", "tumour", 40, 0.92, 0.62, 1.25, 4.0, 0.06, 4.0, 0.08),
    Tissue("oedema", "oedema", 24, 0.58, 0.72, 0.38, 2.0, 0.03, 2.0, 0.05),
    Tissue("tooth", "tooth", 2000, 0.02, 0.02, 0.05, 80.0, 0.05, 150.0, 0.10),
    Tissue("metal", "metal", 3400, 0.0, 0.0, 0.05, 0.0, 0.0, 200.0, 0.0),
    Tissue("metal_void", "metal", 3400, 0.0, 0.0, 0.05, 0.0, 0.0, 0.0, 0.0),
)

TISSUES: dict[str, Tissue] = {tissue.name: tissue for tissue in _TISSUES}
_INDEX = {tissue.name: index for index, tissue in enumerate(_TISSUES)}


class TissueTable:
    """The tissues of one head: means varied from head to head.

    rng: draws the variation. `values` has shape (tissues, 4) in the order of CHANNELS, float32.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        means = np.array([[t.ct, t.t1, t.t2, t.pet] for t in _TISSUES])
        draw = np.clip(rng.standard_normal(means.shape), -2.0, 2.0)
        draw[:, 0] *= [t.ct_spread for t in _TISSUES]
        draw[:, 1:] *= means[:, 1:] * np.array([[t.mr_spread] for t in _TISSUES])
        self.values = (means + draw).astype(np.float32)
        self.labels = np.array([LABELS[t.label] for t in _TISSUES], np.uint8)
        self.ct_texture = np.array([t.ct_texture for t in _TISSUES], np.float32)
        self.mr_texture = np.array([t.mr_texture for t in _TISSUES], np.float32)

    def index(self, name: str) -> int:
        """Row of tissue `name`."""
        return _INDEX[name]
