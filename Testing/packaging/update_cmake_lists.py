"""Rewrite the file lists in the modules' CMakeLists.txt from what lies in the folders.

    python Testing/packaging/update_cmake_lists.py

Slicer installs only listed files, so the lists are explicit; this keeps them from being kept by hand.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("MSLFusion", "MSLFusionTraining")
SCRIPTS, RESOURCES = "MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES"
_INSTALLED_RESOURCES = {".png", ".svg", ".ui", ".json", ".txt", ".safetensors"}


def scripts(module: Path) -> list[str]:
    """Every Python file of a module: the module file, other scripts beside it, then its library and its panel."""
    packages = (module / f"{module.name}{kind}" for kind in ("Lib", "Panel"))
    inside = (path for package in packages for path in package.rglob("*.py"))
    return [
        *sorted(path.name for path in module.glob("*.py")),
        *sorted(path.relative_to(module).as_posix() for path in inside),
    ]


def resources(module: Path) -> list[str]:
    """Every file under Resources that the module needs when it runs: icons, .ui, weights."""
    files = (path for path in (module / "Resources").rglob("*") if path.suffix in _INSTALLED_RESOURCES)
    return sorted(path.relative_to(module).as_posix() for path in files)


def listed(cmake: str, variable: str) -> list[str]:
    """The entries of `set(variable ...)` in the text of a CMakeLists.txt."""
    match = _block(variable).search(cmake)
    if match is None:
        raise ValueError(f"there is no set({variable} ...)")
    return match[1].split()


def updated(cmake: str, module: Path) -> str:
    """The text of a CMakeLists.txt with both lists brought up to date."""
    for variable, entries in ((SCRIPTS, scripts(module)), (RESOURCES, resources(module))):
        listed(cmake, variable)
        lines = "".join(f"  {entry}\n" for entry in entries)
        block = f"set({variable}\n{lines}  )"
        cmake = _block(variable).sub(lambda _match, block=block: block, cmake)
    return cmake


def _block(variable: str) -> re.Pattern[str]:
    return re.compile(rf"set\({variable}\s([^)]*)\)")


if __name__ == "__main__":
    for name in MODULES:
        path = ROOT / name / "CMakeLists.txt"
        path.write_text(updated(path.read_text(), ROOT / name))
