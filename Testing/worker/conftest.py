"""A tiny random network in a file, and workers in processes of their own."""

from pathlib import Path

import pytest
from talk import COMMAND, ENVIRONMENT, TIMEOUT
from tiny import write_model

from MSLFusionLib.transport import SubprocessTransport


@pytest.fixture(scope="session")
def model_file(tmp_path_factory) -> Path:
    """A checkpoint with random weights for slices of 64 x 64."""
    return write_model(tmp_path_factory.mktemp("models") / "tiny.safetensors")


@pytest.fixture(scope="module")
def worker(model_file):
    """A worker with the tiny model, shared by the tests of a module: each begins with what it needs."""
    with SubprocessTransport(COMMAND, ENVIRONMENT) as transport:
        transport.wait(transport.client.open_model(str(model_file), "cpu"), TIMEOUT)
        yield transport
