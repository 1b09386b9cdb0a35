"""The command line `mslfusion`: the same words in a shell and after `Slicer --python-script .../batch.py`.

Exit codes: 0 done; 1 the job failed; 2 wrong usage or unusable input; 128 + signal number when stopped by
Ctrl-C or SIGTERM. Each error is one line on standard error; `--debug` adds the traceback.

Commands come from three places: the modules of `MSLFusionLib.commands`, installed packages with an entry
point in the group "mslfusion.commands" (a module or object with `add_commands(subparsers)`), and `providers`
of the same kind handed to `main` where nothing is installed (Slicer's batch script). A command registers
itself with `parser.set_defaults(run=function)`; `function(args, context)` does the work. Modules that
define parsers must not import torch: `mslfusion --help` answers at once.
"""

import argparse
import errno
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any, NoReturn, Protocol

from MSLFusionLib import __version__
from MSLFusionLib.console import Console, one_line
from MSLFusionLib.errors import Cancelled, InputError, MSLFusionError
from MSLFusionLib.progress import Job

ENTRY_POINT_GROUP = "mslfusion.commands"
_COMMAND_MODULES = (
    "demo", "phantom", "register", "simulate", "sensors", "reconstruct", "optimize_lambda", "fuse", "evaluate",
    "models", "benchmark", "experiments", "worker",
)  # fmt: skip


class Provider(Protocol):
    """Something that adds commands, such as the training library's `commands` module."""

    def add_commands(self, subparsers: Any) -> None:
        """Add parsers to `subparsers`, each with `set_defaults(run=...)`."""


@dataclass(frozen=True)
class Context:
    """What a command gets beside its arguments: where to speak, and the job that carries progress and cancel."""

    console: Console
    job: Job
    command_line: tuple[str, ...] = ()


class _DefaultsFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults that say something: not None, on/off or empty ones."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or isinstance(action.default, bool) or action.default == ():
            return action.help
        return super()._get_help_string(action)


class OneLineParser(argparse.ArgumentParser):
    """An ArgumentParser whose usage errors are one line; long options must be spelt out."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("formatter_class", _DefaultsFormatter)
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"mslfusion: error: {one_line(message)} (see: {self.prog} --help)\n")


def build_parser(providers: Iterable[Provider] = ()) -> argparse.ArgumentParser:
    """The whole parser: our commands, then those of installed plug-ins, then those of `providers`."""
    parser = OneLineParser(
        prog="mslfusion",
        description="Joint CT and MRI reconstruction from sparse sensor data, with a dial between the two.",
        epilog="Exit codes: 0 done, 1 the job failed, 2 wrong usage or unusable input. "
        "Start with: mslfusion demo --output demo",
        formatter_class=argparse.HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mslfusion {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", required=True)
    for name in _COMMAND_MODULES:
        importlib.import_module(f"MSLFusionLib.commands.{name}").add_parser(subparsers)
    for provider in (*_installed_providers(), *providers):
        _add_provider(subparsers, provider)
    _add_common_options(parser)
    return parser


def _installed_providers() -> list[Provider]:
    """Plug-ins of installed packages; one that cannot be imported is named and left out."""
    loaded = []
    for entry in metadata.entry_points(group=ENTRY_POINT_GROUP):
        try:
            loaded.append(entry.load())
        except ImportError as error:
            sys.stderr.write(f"mslfusion: warning: the commands of {entry.value} are missing: {one_line(str(error))}\n")
    return loaded


def _add_provider(subparsers: Any, provider: Provider) -> None:
    """Let `provider` add its commands, unless the same one came before (installed and handed in)."""
    seen = getattr(subparsers, "seen_providers", [])
    name = getattr(provider, "__name__", repr(provider))
    if name not in seen:
        provider.add_commands(subparsers)
        subparsers.seen_providers = [*seen, name]


def _add_common_options(parser: argparse.ArgumentParser) -> None:
    """Give --json, --stop-with-input and --debug to every command, those of plug-ins too."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for group in groups:
        for child in set(group.choices.values()):
            _add_common_options(child)
    if not groups:
        common = parser.add_argument_group("common options")
        common.add_argument(
            "--json", action="store_true", help="print one JSON object per line for progress and result"
        )
        common.add_argument(
            "--stop-with-input", action="store_true", help="stop when standard input ends, for programs that start this"
        )
        common.add_argument("--debug", action="store_true", help="show the traceback of an error")


def main(argv: Sequence[str] | None = None, providers: Iterable[Provider] = ()) -> int:
    """Run one command and return its exit code; never raises for wrong input or a failed job."""
    words = list(sys.argv[1:] if argv is None else argv)
    # Read by torch when it loads: threads that wait should sleep, not spin. Where others compute too (Slicer, say),
    # a slice took 0.4 s with two spinning threads and 0.1 s with two that sleep.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        args = build_parser(providers).parse_args(words)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2
    console = Console(as_json=args.json)
    context = Context(console, console.job(), ("mslfusion", *words))
    return _guarded(lambda: args.run(args, context), console, args.debug, args.stop_with_input)


def _guarded(run: Callable[[], Any], console: Console, debug: bool, stop_with_input: bool) -> int:
    """Call `run`; turn how it ends into an exit code and, when it fails, one line."""
    try:
        with console.stoppable(stop_with_input):
            run()
        return 0
    except BrokenPipeError:
        return 1  # the reader of our output went away; nobody is left to tell
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exception(error, file=console.err)
        sentence, code = explained(error, console.stop_signal)
    console.error(sentence, code)
    return code


def explained(error: BaseException, stop_signal: int | None = None) -> tuple[str, int]:
    """The line and the exit code for what ended a command."""
    if isinstance(error, KeyboardInterrupt):
        return "Cancelled: nothing was written.", 128 + signal.SIGINT
    if isinstance(error, Cancelled) and stop_signal is not None:
        return str(error), 128 + stop_signal
    if isinstance(error, MSLFusionError):
        return str(error), error.exit_code
    if isinstance(error, MemoryError):
        return f"out of memory: use a smaller volume or fewer lambdas ({error})", MSLFusionError.exit_code
    if isinstance(error, OSError):
        return _os_error(error)
    if isinstance(error, ModuleNotFoundError):
        return _missing(error), MSLFusionError.exit_code
    where = "(this is a fault of mslfusion; --debug shows where)"
    return f"{type(error).__name__}: {error} {where}", MSLFusionError.exit_code


def _missing(error: ModuleNotFoundError) -> str:
    """What to install: in Slicer, torch comes with the PyTorch extension and never by pip."""
    package = (error.name or "a module").partition(".")[0]
    if package == "torch":
        return "torch is missing: install it with Slicer's PyTorch extension, elsewhere with pip install torch"
    return f"{package} is missing: install it with pip install {package} (in Slicer: PythonSlicer -m pip install)"


def _os_error(error: OSError) -> tuple[str, int]:
    """The line and exit code for a failure of the file system: the user can mend each of these."""
    place = error.filename if error.filename is not None else "the output"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{place}: the disk is full; free some space or choose another --output", InputError.exit_code
    if error.errno == errno.EFBIG:
        return f"{place}: the file is larger than this disk or account allows", InputError.exit_code
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{place}: no permission to read or write; choose another place", InputError.exit_code
    return f"{place}: {error.strerror or error}", MSLFusionError.exit_code


if __name__ == "__main__":
    sys.exit(main())
