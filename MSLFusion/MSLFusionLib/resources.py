"""Where the files lie that come with the library."""

from pathlib import Path

_LIBRARY = Path(__file__).resolve().parent


def models_folder() -> Path:
    """The folder of the shipped weights (*.safetensors).

    In the source tree and inside Slicer this is Resources/Models beside the library's folder; a wheel
    carries it inside the library, since site-packages is shared with others.
    """
    inside = _LIBRARY / "Resources" / "Models"
    return inside if inside.is_dir() else _LIBRARY.parent / "Resources" / "Models"
