"""A generated head: CT, T1, T2, PET and labels of one random anatomy."""

from MSLFusionLib.phantom.generate import AXIAL_RANGE_MM, Head, generate_head, head_slices
from MSLFusionLib.phantom.tissues import LABELS

__all__ = ["AXIAL_RANGE_MM", "LABELS", "Head", "generate_head", "head_slices"]
