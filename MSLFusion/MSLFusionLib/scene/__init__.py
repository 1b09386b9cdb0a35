"""MRML nodes of 3D Slicer <-> the library. The only folder that imports `slicer`.

Every function works on a vtkMRMLScene and its nodes, so the same code runs inside the Slicer application
and on the PyPI package slicer-core; `bootstrap.application()` gives the scene of either. Geometry crosses
the border here: MRML counts in RAS, SimpleITK in LPS.
"""

from importlib.util import find_spec


def available() -> bool:
    """Whether scenes can be made here: inside Slicer, or with slicer-core installed (`mslfusion[scene]`)."""
    return find_spec("slicer") is not None
