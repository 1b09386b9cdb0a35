"""CMake, catalogue entry and description file agree, list what is there, and name pictures that exist."""

import json
import re
import shutil
import struct
import subprocess
import tomllib
from pathlib import Path

import pytest
import update_cmake_lists as lists

ROOT = lists.ROOT
TOP = (ROOT / "CMakeLists.txt").read_text()
CATALOGUE = json.loads((ROOT / "MSLFusion.json").read_text())
# The properties of slicer-extension-catalog-entry-schema-v1.0.1.json, which allows no others.
SCHEMA = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "enabled": bool,
    "tier": int,
}


def cmake(name: str) -> str:
    """The value of `set(EXTENSION_<name> "...")`."""
    match = re.search(rf'^set\(EXTENSION_{name} "([^"]*)"\)', TOP, re.MULTILINE)
    assert match is not None, f"EXTENSION_{name} is not set on one line"
    return match[1]


def description_file() -> dict[str, str]:
    """The keywords of MSLFusion.s4ext and their values."""
    lines = (ROOT / "MSLFusion.s4ext").read_text().splitlines()
    pairs = [line.split(maxsplit=1) for line in lines if line.strip() and not line.startswith("#")]
    return {pair[0]: pair[1] if len(pair) > 1 else "" for pair in pairs}


def test_catalogue_entry_follows_its_schema() -> None:
    assert set(CATALOGUE) <= set(SCHEMA)
    assert {"$schema", "category", "scm_url"} <= set(CATALOGUE)
    for key, value in CATALOGUE.items():
        assert type(value) is SCHEMA[key], key
    assert "slicer-extension-catalog-entry-schema-v1.0.1.json" in CATALOGUE["$schema"]
    assert 1 <= CATALOGUE["tier"] <= 5


def test_name_is_the_same_everywhere() -> None:
    match = re.search(r"^project\((\w+)\)", TOP, re.MULTILINE)
    assert match is not None
    assert match[1] == "MSLFusion"
    assert {path.stem for path in [*ROOT.glob("*.json"), *ROOT.glob("*.s4ext")]} == {match[1]}


@pytest.mark.parametrize(
    "key",
    [
        "homepage",
        "category",
        "contributors",
        "description",
        "iconurl",
        "screenshoturls",
        "depends",
        "recommends",
        "status",
        "tier",
        "enabled",
        "build_subdirectory",
        "keywords",
    ],
)
def test_cmake_and_description_file_agree(key: str) -> None:
    assert description_file()[key] == cmake(key.upper())


def test_catalogue_entry_and_description_file_agree() -> None:
    described = description_file()
    for in_json, in_s4ext in (
        ("scm_url", "scmurl"),
        ("scm_revision", "scmrevision"),
        ("scm_type", "scm"),
        ("category", "category"),
        ("build_subdirectory", "build_subdirectory"),
    ):
        assert CATALOGUE[in_json] == described[in_s4ext], in_json
    assert CATALOGUE["tier"] == int(described["tier"])
    assert CATALOGUE["enabled"] == bool(int(described["enabled"]))
    assert CATALOGUE["build_dependencies"] == described["depends"].split()
    assert CATALOGUE["scm_url"] == f"{described['homepage']}.git"


def test_description_is_one_line() -> None:
    assert "\n" not in cmake("DESCRIPTION")
    assert len(cmake("DESCRIPTION")) < 200


@pytest.mark.parametrize("name", lists.MODULES)
def test_every_file_of_a_module_is_listed_and_every_listed_file_is_there(name: str) -> None:
    module = ROOT / name
    text = (module / "CMakeLists.txt").read_text()
    tracked = _committed_or_addable(module)
    for variable, entries in ((lists.SCRIPTS, lists.scripts(module)), (lists.RESOURCES, lists.resources(module))):
        found = lists.listed(text, variable)
        assert len(found) == len(set(found)), "listed twice"
        assert set(found) == {entry for entry in entries if entry in tracked}, (
            "run: python Testing/packaging/update_cmake_lists.py"
        )
        assert all((module / entry).is_file() for entry in found)
    assert f"set(MODULE_NAME {name})" in text
    assert "WITH_GENERIC_TESTS" in text
    assert f"add_subdirectory({name})" in TOP


def _committed_or_addable(module: Path) -> set[str]:
    """Files of a module that git has or would take; everything outside a git checkout."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "."]
    try:
        found = subprocess.run(command, cwd=module, capture_output=True, encoding="utf-8", check=True)
    except (OSError, subprocess.CalledProcessError):
        return {path.relative_to(module).as_posix() for path in module.rglob("*") if path.is_file()}
    return set(found.stdout.splitlines())


def test_lists_are_rewritten_in_place(tmp_path: Path) -> None:
    module = tmp_path / "MSLFusion"
    (module / "MSLFusionLib" / "deep").mkdir(parents=True)
    for folder in ("MSLFusionPanel", "Resources/Models", "Resources/UI"):
        (module / folder).mkdir(parents=True)
    python = ("MSLFusion.py", "MSLFusionLib/b.py", "MSLFusionLib/deep/a.py", "MSLFusionPanel/p.py")
    resources = ("Resources/Models/m.safetensors", "Resources/UI/MSLFusion.ui", "Resources/requirements.txt")
    for path in (*python, *resources):
        (module / path).touch()
    (module / "Resources" / "Models" / "README.md").touch()
    block = "set({}\n{}  )\n".format
    before = block(lists.SCRIPTS, "  gone.py\n") + "keep\n" + block(lists.RESOURCES, "")
    written = ["".join(f"  {entry}\n" for entry in entries) for entries in (python, resources)]
    assert lists.updated(before, module) == (
        block(lists.SCRIPTS, written[0]) + "keep\n" + block(lists.RESOURCES, written[1])
    )
    with pytest.raises(ValueError, match="MODULE_PYTHON_SCRIPTS"):
        lists.updated("nothing", module)


@pytest.mark.parametrize(
    "picture",
    [
        "Resources/MSLFusion.png",
        "MSLFusion/Resources/Icons/MSLFusion.png",
        "MSLFusionTraining/Resources/Icons/MSLFusionTraining.png",
    ],
)
def test_icons_are_128_pixels_square(picture: str) -> None:
    header = (ROOT / picture).read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", header[16:24]) == (128, 128)


def test_addresses_of_pictures_name_files_of_this_repository() -> None:
    start = cmake("HOMEPAGE").replace("github.com", "raw.githubusercontent.com") + "/main/"
    for url in [cmake("ICONURL"), *cmake("SCREENSHOTURLS").split()]:
        assert url.startswith(start)
        assert (ROOT / url.removeprefix(start)).is_file(), url


def test_every_dependency_of_the_tests_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    lines = (ROOT / "Testing" / "constraints.txt").read_text().splitlines()

    def name(requirement: str) -> str:
        """As pip compares names."""
        return re.sub(r"[-_.]+", "-", re.split(r"[<>=~!\[;]", requirement)[0].strip().lower())

    assert {name(one) for one in wanted} <= {name(line) for line in lines if "==" in line}


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_cmake_configures_both_modules(tmp_path: Path) -> None:
    """CMake itself reads our files; Slicer's macros are replaced by ones that write down their arguments."""
    package = tmp_path / "slicer"
    package.mkdir()
    (package / "SlicerConfig.cmake").write_text(
        f"""
        set(Slicer_USE_FILE {package}/use.cmake)
        set(Slicer_EXTENSION_GENERATE_CONFIG {package}/empty.cmake)
        set(Slicer_EXTENSION_CPACK {package}/empty.cmake)
        """
    )
    (package / "empty.cmake").touch()
    (package / "use.cmake").write_text(
        """
        set(BUILD_TESTING ON)
        function(slicerMacroBuildScriptedModule)
          cmake_parse_arguments(MY "WITH_GENERIC_TESTS" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
          foreach(file ${MY_SCRIPTS} ${MY_RESOURCES})
            if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${file})
              message(FATAL_ERROR "missing ${file}")
            endif()
          endforeach()
          list(LENGTH MY_SCRIPTS count)
          message(STATUS "module ${MY_NAME} ${count} ${MY_WITH_GENERIC_TESTS} ${MY_UNPARSED_ARGUMENTS}")
        endfunction()
        function(slicer_add_python_unittest)
          message(STATUS "unittest ${ARGN}")
        endfunction()
        """
    )
    done = subprocess.run(
        ["cmake", "-S", ROOT, "-B", tmp_path / "build", f"-DSlicer_DIR={package}"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in lists.MODULES:
        count = len(lists.listed((ROOT / name / "CMakeLists.txt").read_text(), lists.SCRIPTS))
        assert f"module {name} {count} TRUE \n" in done.stdout
        assert f"unittest SCRIPT;{name}.py\n" in done.stdout
