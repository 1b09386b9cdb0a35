"""mslfusion worker: answer requests on the standard streams, for the Slicer panel and other clients."""

import argparse
from typing import TYPE_CHECKING, Any

from MSLFusionLib.commands.options import add_command

if TYPE_CHECKING:
    from MSLFusionLib.cli import Context


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    add_command(
        subparsers,
        "worker",
        run,
        "hold a model and answer requests on standard input and output until they close, for programs (Docs/worker.md)",
    )


def run(_args: argparse.Namespace, _context: "Context") -> None:
    """Serve until the client closes."""
    from MSLFusionLib.worker import serve

    serve()
