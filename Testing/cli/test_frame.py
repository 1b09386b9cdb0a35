"""The frame of the command line: exit codes, one-line errors, JSON lines, plug-ins, cancelling."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from MSLFusionLib import cli
from MSLFusionLib.console import clock
from MSLFusionLib.errors import Cancelled, InputError, JobError

ROOT = Path(__file__).resolve().parents[2]


def provider(run, name="plug"):
    """A plug-in with one command `plug` that does `run`."""

    def add_commands(subparsers):
        subparsers.add_parser(name, help="a test").set_defaults(run=run)

    return SimpleNamespace(add_commands=add_commands, __name__=f"provider of {name}")


def ending(error):
    """A command that ends with `error`."""

    def run(args, context):
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("ct.nrrd: there is no such file\ngive another"), 2),
        (JobError("the optimiser failed"), 1),
        (Cancelled("Cancelled: nothing was written."), 1),
        (OSError(errno.ENOSPC, "No space left on device", "out.nrrd"), 2),
        (OSError(errno.EFBIG, "File too large", "out.nrrd"), 2),
        (PermissionError(errno.EACCES, "Permission denied", "out.nrrd"), 2),
        (MemoryError(), 1),
        (ZeroDivisionError("division by zero"), 1),
    ],
)
def test_each_ending_has_its_exit_code_and_one_line(error, code, capsys):
    assert cli.main(["plug"], [provider(ending(error))]) == code
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("mslfusion: error: ")
    assert captured.out == ""


@pytest.mark.parametrize(("name", "hint"), [("torch", "PyTorch extension"), ("h5py.h5", "pip install h5py ")])
def test_missing_package_says_what_to_install(name, hint, capsys):
    error = ModuleNotFoundError(f"No module named '{name}'", name=name)
    assert cli.main(["plug"], [provider(ending(error))]) == 1
    assert hint in capsys.readouterr().err


def test_debug_shows_the_traceback(capsys):
    assert cli.main(["plug", "--debug"], [provider(ending(InputError("bad")))]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_json_lines_carry_progress_warning_result_and_error(capsys):
    def run(args, context):
        context.job.step("work", 0, 2)
        context.job.step("work", 2, 2)
        context.job.warning("careful")
        context.console.result({"path": Path("a/b"), "psnr": float("inf")}, "text")
        raise InputError("then it broke")

    assert cli.main(["plug", "--json"], [provider(run)]) == 2
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [r["type"] for r in records] == ["progress", "progress", "warning", "result", "error"]
    assert records[1]["done"] == records[1]["total"] == 2
    assert records[3] == {"type": "result", "path": "a/b", "psnr": None}
    assert records[4]["exit_code"] == 2


def test_stages_are_told_in_words_where_there_is_no_terminal(capsys):
    def run(args, context):
        for done in range(4):
            context.job.step("decode", done, 3)

    assert cli.main(["plug"], [provider(run)]) == 0
    assert capsys.readouterr().out.startswith("  decode: ")


def test_progress_bar_on_a_terminal_is_wiped():
    from io import StringIO

    from MSLFusionLib.console import Console
    from MSLFusionLib.progress import Progress

    class Terminal(StringIO):
        def isatty(self):
            return True

    err, out = Terminal(), StringIO()
    console = Console(out=out, err=err)
    console.progress(Progress("decode", 0, 2, None))
    console.progress(Progress("decode", 2, 2, 0.0))
    assert "decode" in err.getvalue()
    assert "100%" in err.getvalue()
    assert err.getvalue().endswith("\r\x1b[K")


@pytest.mark.parametrize("argv", [[], ["nonsense"], ["models"], ["plug", "--unknown"]])
def test_wrong_usage_is_one_line_and_exit_code_2(argv, capsys):
    assert cli.main(argv, [provider(lambda args, context: None)]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "--help" in captured.err


def test_a_provider_handed_in_twice_is_added_once():
    plug = provider(lambda args, context: None)
    assert cli.main(["plug"], [plug, plug]) == 0


def test_ctrl_c_stops_at_the_next_step_and_restores_the_handler(capsys):
    def run(args, context):
        os.kill(os.getpid(), signal.SIGINT)
        context.job.step("work", 1, 2)
        raise AssertionError("not reached")

    before = signal.getsignal(signal.SIGINT)
    assert cli.main(["plug"], [provider(run)]) == 128 + signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is before
    assert "nothing was written" in capsys.readouterr().err


def test_second_ctrl_c_does_not_wait_for_a_step(capsys):
    def run(args, context):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("not reached")

    assert cli.main(["plug"], [provider(run)]) == 130
    assert capsys.readouterr().err.count("\n") == 1


def test_help_needs_neither_torch_nor_simpleitk():
    code = (
        "import sys\nfrom MSLFusionLib import cli\nfrom MSLFusionTrainingLib import commands\n"
        "assert cli.main(['--help'], [commands]) == 0\n"
        "heavy = {'torch', 'SimpleITK', 'scipy', 'matplotlib', 'h5py', 'vtk'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    path = os.pathsep.join([str(ROOT / "MSLFusion"), str(ROOT / "MSLFusionTraining")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for word in ("demo", "phantom", "register", "simulate", "reconstruct", "models", "benchmark", "train", "export"):
        assert f"\n    {word}" in done.stdout


def test_clock():
    assert clock(7.4) == "0:07"
    assert clock(3723) == "1:02:03"
