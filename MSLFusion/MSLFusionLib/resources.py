"""Where the files lie that come with the library, and where the user's own models lie."""

import os
import sys
from pathlib import Path

_LIBRARY = Path(__file__).resolve().parent


def models_folder() -> Path:
    """The folder of the shipped weights (*.safetensors).

    In the source tree and inside Slicer this is Resources/Models beside the library's folder; a wheel
    carries it inside the library, since site-packages is shared with others.
    """
    inside = _LIBRARY / "Resources" / "Models"
    return inside if inside.is_dir() else _LIBRARY.parent / "Resources" / "Models"


def user_models_folder() -> Path:
    """The folder of the user's own models, which need not exist: MSLFUSION_MODELS's first, else the system's place.

    That is ~/.local/share (XDG_DATA_HOME), ~/Library/Application Support or %LOCALAPPDATA%, in it mslfusion/models.
    """
    named = [folder for folder in os.environ.get("MSLFUSION_MODELS", "").split(os.pathsep) if folder]
    if named:
        return Path(named[0])
    home = Path(os.path.expanduser("~"))
    if sys.platform == "win32":
        data = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        data = home / "Library" / "Application Support"
    else:
        data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return data / "mslfusion" / "models"
