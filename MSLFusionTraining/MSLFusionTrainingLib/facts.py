"""The facts that a training state carries beside its tensors; read without torch, also beside a run that writes."""

import json
import struct
from pathlib import Path
from typing import Any

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.checkpoints import MAX_HEADER

LAST, BEST = "state.safetensors", "best.safetensors"
KEY = "mslfusion-training"
"""Of the facts in the file's metadata."""


def read_facts(path: Path) -> dict[str, Any]:
    """The facts stored beside the tensors; InputError when the file is not a training state."""
    try:
        # One open of the file, so that a reader beside the run never sees parts of two states.
        with path.open("rb") as file:
            size = struct.unpack("<Q", file.read(8))[0]
            if size > MAX_HEADER:
                raise ValueError("no header")
            facts = json.loads(json.loads(file.read(size))["__metadata__"][KEY])
    except FileNotFoundError:
        raise InputError(f"The training state {path} does not exist.") from None
    except (OSError, KeyError, ValueError, TypeError, struct.error):
        raise InputError(f"{path} is not the state of a training, or it is damaged.") from None
    return dict(facts)
