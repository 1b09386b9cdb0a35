"""A few coarse slices of a generated head, made once."""

import pytest
import torch
from training_bench import config

from MSLFusionTrainingLib.data import SliceSet, load_heads


@pytest.fixture(scope="session")
def three(tmp_path_factory: pytest.TempPathFactory) -> SliceSet:
    """CT, T1 and T2."""
    folder = tmp_path_factory.mktemp("heads")
    return load_heads(config(slices=6, modalities=("ct", "t1", "t2")), [7], folder)


@pytest.fixture(scope="session")
def heads(three: SliceSet) -> SliceSet:
    """CT and T1."""
    return SliceSet(three.slices[:, :2].contiguous())


@pytest.fixture(scope="session")
def pair(heads: SliceSet) -> torch.Tensor:
    """Two slices with something in them, (2, 2, 64, 64)."""
    return heads.batch(torch.tensor([2, 3]), torch.device("cpu"))
