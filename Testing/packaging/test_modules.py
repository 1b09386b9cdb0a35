"""The module files load in Slicer without cost, describe themselves, and the batch script always ends Slicer."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "scipy", "SimpleITK", "numpy", "h5py", "matplotlib", "vtk")


def in_slicer(code: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh Python with both module folders on its path and stand-ins for Slicer's modules."""
    paths = [ROOT / "MSLFusion", ROOT / "MSLFusionTraining", ROOT / "Testing" / "standins"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-c", f"import sys, light_slicer; light_slicer.install()\n{code}", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False)


@pytest.mark.parametrize("name", ["MSLFusion", "MSLFusionTraining"])
def test_a_module_file_imports_nothing_heavy_and_describes_itself(name: str, tmp_path: Path) -> None:
    code = f"""
import json, sys
import {name} as module
parent = light_slicer.Parent()
module.{name}(parent)
loaded = [one for one in {HEAVY!r} if one in sys.modules]
print(json.dumps({{"loaded": loaded, **vars(parent)}}))
"""
    done = in_slicer(code, tmp_path)
    assert done.returncode == 0, done.stderr
    described = json.loads(done.stdout)
    assert described["loaded"] == []
    assert described["title"].startswith("MSL Fusion")
    assert described["categories"] == ["Image Synthesis"]
    assert described["contributors"] == ["MSLFusion contributors"]
    assert "<a href=" in described["helpText"]
    assert "Multi-sensor Learning" in described["acknowledgementText"]


def test_when_slicer_has_started_samples_are_known_and_nothing_heavy_is_loaded(tmp_path: Path) -> None:
    code = f"""
import json, os, sys
import MSLFusion as module
parent = light_slicer.Parent()
instance = module.MSLFusion(parent)
assert "SampleData" in sys.modules and not light_slicer.SampleDataLogic.sources
sys.modules["slicer"].app.slots["startupCompleted()"]()
loaded = [one for one in {HEAVY!r} if one in sys.modules]
samples = [(one["sampleName"], one["thumbnailFileName"]) for one in light_slicer.SampleDataLogic.sources]
print(json.dumps({{"loaded": loaded, "samples": samples, "help": parent.helpText}}))
"""
    done = in_slicer(code, tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["loaded"] == []
    assert [name for name, _picture in found["samples"]] == ["Generated head", "RIRE training_001"]
    for _name, picture in found["samples"]:
        assert (ROOT / "MSLFusion" / "Resources" / "Icons" / Path(picture).name).is_file()
    assert "Docs/tutorial.md" in found["help"]


def test_the_training_module_loads_nothing_heavy(tmp_path: Path) -> None:
    code = f"""
import json
import MSLFusionTraining
parent = light_slicer.Parent()
module = MSLFusionTraining.MSLFusionTraining(parent)
loaded = [one for one in {HEAVY!r} if one in sys.modules]
print(json.dumps({{"loaded": loaded, "help": parent.helpText, "needs": parent.dependencies}}))
"""
    done = in_slicer(code, tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["loaded"] == []
    assert found["needs"] == ["MSLFusion"]
    assert "Docs/training.md" in found["help"]


def test_the_tests_of_the_modules_pass_on_slicer_core(tmp_path: Path) -> None:
    """Slicer runs these inside the application; here those without widgets meet the same scene classes."""
    code = """
import slicer
light_slicer.install(slicer)
import MSLFusion, MSLFusionTraining
from MSLFusionLib.scene.bootstrap import application
with application():
    tests = MSLFusion.MSLFusionTest()
    for test in (tests.test_volumes_keep_their_geometry, tests.test_a_run_can_be_saved_and_opened):
        tests.setUp()
        test()
    MSLFusionTraining.MSLFusionTrainingTest().test_commands_are_found()
print("passed")
"""
    done = in_slicer(f"del sys.modules['slicer']\n{code}", tmp_path)
    assert done.stdout == "passed\n", done.stderr
    assert " ERR|" not in done.stderr


def batch(folder: Path, *words: str, script: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the batch script under plain Python, with nothing of ours on the path."""
    command = [sys.executable, "-P", str(script or ROOT / "MSLFusion" / "batch.py"), *words]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False)


def test_the_batch_script_knows_all_words_and_exit_codes(tmp_path: Path) -> None:
    done = batch(tmp_path, "--help")
    assert done.returncode == 0, done.stderr
    assert "reconstruct" in done.stdout
    assert "train" in done.stdout
    wrong = batch(tmp_path, "models", "show", "nobody-made-this")
    assert wrong.returncode == 2
    assert len(wrong.stderr.strip().splitlines()) == 1
    assert batch(tmp_path, "no-such-word").returncode == 2


def test_the_batch_script_works_from_an_installed_extension(tmp_path: Path) -> None:
    """There both libraries and the script lie in one folder."""
    installed = tmp_path / "qt-scripted-modules"
    for module in ("MSLFusion", "MSLFusionTraining"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / module / f"{module}Lib", installed / f"{module}Lib", ignore=ignored)
    shutil.copy(ROOT / "MSLFusion" / "batch.py", installed)
    done = batch(tmp_path, "--help", script=installed / "batch.py")
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout


def test_a_broken_installation_ends_with_one_line(tmp_path: Path) -> None:
    shutil.copy(ROOT / "MSLFusion" / "batch.py", tmp_path)
    (tmp_path / "MSLFusionLib").mkdir()
    (tmp_path / "MSLFusionLib" / "__init__.py").write_text("raise RuntimeError('broken\\ninstallation')")
    done = batch(tmp_path, "models", script=tmp_path / "batch.py")
    assert done.returncode == 1
    assert done.stderr == "mslfusion: error: RuntimeError: broken installation (--debug shows where)\n"
    debug = batch(tmp_path, "models", "--debug", script=tmp_path / "batch.py")
    assert debug.returncode == 1
    assert "Traceback" in debug.stderr


RUN_IN_APPLICATION = """
import runpy, slicer, sys, types
slicer.app = object()
def leave(code):
    print("application leaves with", code)
    if "no exit" in sys.argv:
        raise RuntimeError("the application is already gone")
slicer.util = types.SimpleNamespace(exit=leave)
sys.modules["MSLFusionLib.cli"] = cli = types.ModuleType("cli")
def main(words, providers):
    if words[:1] == ["exit"]: sys.exit(words[1] if len(words) > 1 else None)
    if words[:1] == ["fail"]: raise ValueError("no")
    if words[:1] == ["stop"]: raise KeyboardInterrupt
    return 2
cli.main = main
import MSLFusionLib
MSLFusionLib.cli = cli
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


@pytest.mark.parametrize(
    ("words", "code"),
    [(["wrong"], 2), (["exit"], 0), (["exit", "text"], 1), (["fail"], 1), (["stop"], 130)],
)
def test_inside_slicer_every_way_out_ends_the_application(words: list[str], code: int, tmp_path: Path) -> None:
    done = in_slicer(RUN_IN_APPLICATION, tmp_path, str(ROOT / "MSLFusion" / "batch.py"), *words)
    assert f"application leaves with {code}\n" in done.stdout, done.stderr


@pytest.mark.parametrize(("words", "code", "said"), [(["--help"], 0, "reconstruct"), (["models", "show", "x"], 2, "x")])
def test_the_command_line_speaks_through_slicers_streams(
    words: list[str], code: int, said: str, tmp_path: Path
) -> None:
    code_in_slicer = """
import runpy, slicer, types
streams = sys.stdout, sys.stderr
sys.stdout, sys.stderr = map(light_slicer.StdOutRedirect, streams)
slicer.util = types.SimpleNamespace(exit=lambda code: print("application leaves with", code))
runpy.run_path(sys.argv.pop(1), run_name="__main__")
sys.stdout, sys.stderr = streams
"""
    done = in_slicer(code_in_slicer, tmp_path, str(ROOT / "MSLFusion" / "batch.py"), *words)
    assert f"application leaves with {code}\n" in done.stdout, done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_where_the_application_cannot_leave_the_process_ends(tmp_path: Path) -> None:
    done = in_slicer(RUN_IN_APPLICATION, tmp_path, str(ROOT / "MSLFusion" / "batch.py"), "wrong", "no exit")
    assert done.returncode == 2
    assert "already gone" in done.stderr


def test_slicer_finds_a_hidden_module_in_the_batch_script(tmp_path: Path) -> None:
    """Slicer loads every .py file of a module folder; without a class of that name it would log an error."""
    code = """
import batch
parent = light_slicer.Parent()
batch.batch(parent)
print(parent.hidden)
"""
    assert in_slicer(code, tmp_path).stdout == "True\n"


def test_models_are_found_in_the_source_tree_and_in_a_wheel(tmp_path: Path) -> None:
    source = tmp_path / "source" / "MSLFusion"
    wheel = tmp_path / "site-packages"
    for root, models in (
        (source, source / "Resources" / "Models"),
        (wheel, wheel / "MSLFusionLib" / "Resources" / "Models"),
    ):
        models.mkdir(parents=True)
        (root / "MSLFusionLib").mkdir(exist_ok=True)
        shutil.copy(ROOT / "MSLFusion" / "MSLFusionLib" / "resources.py", root / "MSLFusionLib")
        code = "import resources; print(resources.models_folder())"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=root / "MSLFusionLib", capture_output=True, encoding="utf-8", check=True
        )
        assert Path(done.stdout.strip()) == models
