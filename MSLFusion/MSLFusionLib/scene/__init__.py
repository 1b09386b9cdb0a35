"""MRML nodes of 3D Slicer <-> the library. The only folder that imports `slicer`.

Every function works on a vtkMRMLScene and its nodes, so the same code runs inside the Slicer application
and on the PyPI package slicer-core; `bootstrap.application()` gives the scene of either. Geometry crosses
the border here: MRML counts in RAS, SimpleITK in LPS.
"""

import sys
from importlib.util import find_spec


def available() -> bool:
    """Whether scenes can be made here: inside Slicer, or with slicer-core installed (`mslfusion[scene]`)."""
    # There is an unrelated package called slicer as well; only the application has an `app` in it.
    inside = getattr(sys.modules.get("slicer"), "app", None) is not None
    return inside or find_spec("slicer_core") is not None
