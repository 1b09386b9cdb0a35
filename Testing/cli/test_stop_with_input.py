"""A command that another program started ends when that program closes its input, or is gone."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys, threading
from MSLFusionLib.console import Console
from MSLFusionLib import cli
class Words:
    @staticmethod
    def add_commands(subparsers):
        def run(args, context):
            print("at work", flush=True)
            while True:
                context.job.step("work", 1, 2)
                threading.Event().wait(0.01)
        subparsers.add_parser("work").set_defaults(run=run)
sys.exit(cli.main(sys.argv[1:], [Words]))
"""


def test_the_end_of_its_input_stops_a_command() -> None:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "MSLFusion"), str(ROOT / "MSLFusionTraining")])
    }
    command = [sys.executable, "-c", SCRIPT, "work", "--stop-with-input"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        _out, said = process.communicate("some input\n", timeout=120)
    assert process.returncode == 128 + 15
    assert said == "mslfusion: error: Cancelled: nothing was written.\n"
