"""What tests need to talk to a worker in a process of its own."""

import sys
from pathlib import Path

from tiny import ORIGIN, oval_head

from MSLFusionLib.client import Volume

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "MSLFusionLib.cli", "worker"]
ENVIRONMENT = {"PYTHONPATH": str(ROOT / "MSLFusion"), "OMP_NUM_THREADS": "1"}
TIMEOUT = 120.0
PLAN = {"views": 32, "acceleration": 4.0, "seed": 3}


def head(slices: int = 4, spacing: float = 4.0, across: tuple[int, int] = (44, 40)) -> tuple[Volume, Volume]:
    """CT and MR of the oval head on one grid, its corner at an odd place."""
    ct, mr = oval_head((slices, *across), spacing)
    place = {"spacing": (spacing, spacing, 5.0), "origin": ORIGIN}
    return Volume(ct, **place), Volume(mr, **place)
