"""Fixtures shared by all test areas."""

from collections.abc import Iterator
from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def no_models_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Which models there are must not depend on who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        patch.setenv("LOCALAPPDATA", str(tmp_path_factory.mktemp("local")))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real images and raw data beside the checkout; the test is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("real test data (../shared/data) is not on this machine")
    return SHARED_DATA
