"""Registration of an MR to a CT with SimpleITK: mutual information, rigid then optionally affine."""

from MSLFusionLib.registration.grids import grids_overlap, resample
from MSLFusionLib.registration.register import STARTS, Registration, register
from MSLFusionLib.registration.settings import METHODS, PRESETS

__all__ = ["METHODS", "PRESETS", "STARTS", "Registration", "grids_overlap", "register", "resample"]
