"""Tensors in safetensors files, with the system's error numbers, which safetensors puts into its text only."""

import errno
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def write_tensors(tensors: "dict[str, torch.Tensor]", path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file. Raises OSError with its number, such as ENOSPC when the disk is full."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]) if number else errno.EIO, str(error)) from error
