"""A headless application per test, which fails when Slicer or VTK complained meanwhile."""

from collections.abc import Iterator
from typing import Any

import pytest

from MSLFusionLib.scene import bootstrap


@pytest.fixture
def scene(capfd: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """An empty scene; at the end no error or warning of Slicer may have been logged."""
    with bootstrap.application() as scene:
        yield scene
    log = capfd.readouterr().err
    assert " ERR|" not in log, log
    assert "WARN|" not in log, log
