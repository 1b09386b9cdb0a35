"""The command line inside Slicer, without a window:

    Slicer --no-splash --no-main-window --python-script MSLFusion/batch.py reconstruct --ct ... --output ...

takes the same words as `mslfusion` and ends Slicer with the same exit codes. Slicer itself would keep running
after an uncaught exception of a script; here every way out, wrong usage and Ctrl-C included, ends it. Nothing
opens a dialog. The script runs under plain Python as well.
"""

import os
import sys
import traceback


def module_folders(script):
    """The folders that hold MSLFusionLib and MSLFusionTrainingLib.

    In the source tree each library lies in its module's folder; in an installed extension both lie beside
    this script.
    """
    here = os.path.dirname(os.path.abspath(script))
    beside = os.path.join(os.path.dirname(here), "MSLFusionTraining")
    return [here, beside] if os.path.isdir(beside) else [here]


def run(words, script):
    """Run the command line and return its exit code, whatever happens."""
    try:
        for folder in reversed(module_folders(script)):
            if folder not in sys.path:
                sys.path.insert(0, folder)
        from MSLFusionLib import cli
        from MSLFusionTrainingLib import commands

        return cli.main(words, providers=[commands])
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException as error:
        if "--debug" in words:
            traceback.print_exc()
        reason = " ".join(str(error).split()) or "no reason given"
        sys.stderr.write(f"mslfusion: error: {type(error).__name__}: {reason} (--debug shows where)\n")
        return 130 if isinstance(error, KeyboardInterrupt) else 1


def leave(code):
    """End the process with this exit code: through the application inside Slicer, at once where that fails."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # The application has imported it long before; importing the package slicer-core here would take seconds.
    slicer = sys.modules.get("slicer")
    if getattr(slicer, "app", None) is None:
        sys.exit(code)
    try:
        slicer.util.exit(code)
    except BaseException:
        traceback.print_exc()
        os._exit(code)


class batch:  # noqa: N801 - Slicer looks for a class of the file's name
    """What Slicer finds when it takes every .py file of a module folder for a module: a hidden one, and no error."""

    def __init__(self, parent):
        parent.title = "MSL Fusion batch script"
        parent.hidden = True


if __name__ == "__main__":
    leave(run(sys.argv[1:], __file__))
