"""mslfusion worker: answer requests on the standard streams or a port, for the Slicer panel and other clients."""

import argparse
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MSLFusionLib.commands.options import add_command, whole_number
from MSLFusionLib.errors import InputError

if TYPE_CHECKING:
    from MSLFusionLib.cli import Context

TOKEN_VARIABLE = "MSLFUSION_TOKEN"
_TOKEN_LENGTH = (16, 256)


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "worker",
        run,
        "hold a model and answer requests on standard input and output until they close, or on a port, for programs "
        "(Docs/worker.md)",
    )
    parser.add_argument(
        "--port",
        type=whole_number(0, 65535),
        metavar="N",
        help="listen on this port of 127.0.0.1 (0: any free one) for one client after the other",
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help=f"the token that clients of the port must show (default: the variable {TOKEN_VARIABLE}, or a random one)",
    )


def run(args: argparse.Namespace, context: "Context") -> None:
    """Serve until the client closes, or on a port until the worker is stopped."""
    from MSLFusionLib.worker import HOST, listen, serve

    if args.port is None:
        if args.token_file is not None:
            raise InputError("--token-file is for a worker on a port: give --port too.")
        serve()
        return
    given = _given_token(args.token_file, context)
    token = given or secrets.token_urlsafe()

    def announce(port: int) -> None:
        shown = "the token that was given" if given else f"token {token}"
        values = {"command": "worker", "host": HOST, "port": port, "token": None if given else token}
        context.console.result(values, f"Listening on {HOST}, port {port}, {shown}")

    listen(args.port, token, announce)


def _given_token(path: Path | None, context: "Context") -> str | None:
    """The token of a file or the environment, None where there is none; raises InputError when it is no good.

    It is taken out of the environment, where child processes would find it.
    """
    token = os.environ.pop(TOKEN_VARIABLE, "").strip()
    source = f"the variable {TOKEN_VARIABLE}"
    if path is not None:
        source = str(path)
        try:
            token = path.read_text("utf-8").strip()
            open_to_others = os.name == "posix" and path.stat().st_mode & 0o077
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise InputError(f"The token file {path} cannot be read: {why}.") from None
        if open_to_others:
            context.console.warning(f"Others on this machine may read the token in {path}: chmod 600 it.")
    if not token and path is None:
        return None
    low, high = _TOKEN_LENGTH
    if not low <= len(token) <= high or len(token.split()) != 1:
        raise InputError(f"The token in {source} must have {low} to {high} characters without blanks.")
    return token
