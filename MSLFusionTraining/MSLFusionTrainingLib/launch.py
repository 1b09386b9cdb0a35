"""A training of its own: started so that it goes on whatever becomes of the program that started it. No torch."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from MSLFusionLib.errors import InputError
from MSLFusionTrainingLib.runfolder import TRAIN_LOG, check_free, tail

_LOG_LIMIT, _LOG_KEPT = 2**20, 2**18
_NO_WINDOW = 0x08000000 | 0x00000200
"""Windows: CREATE_NO_WINDOW, for what it starts itself too, and CREATE_NEW_PROCESS_GROUP, out of Ctrl-C's reach."""
_CODE = (
    "import sys; from MSLFusionLib.cli import main; from MSLFusionTrainingLib import commands; "
    "sys.exit(main(providers=[commands]))"
)


def own_command(words: Sequence[str]) -> list[str]:
    """The command line of `mslfusion` with these words, for the Python that runs this."""
    return [sys.executable, "-c", _CODE, *words]


def start(
    command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    """Start a training whose words go to train.log in its folder; does not wait for anything.

    The process belongs to no terminal and to no parent: it outlives whoever started it. environment: changes to this
    process's own. Raises InputError when the folder is being trained in, cannot be written, or nothing starts.
    """
    check_free(folder)
    path = folder / TRAIN_LOG
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > _LOG_LIMIT:
            path.write_text(tail(path, _LOG_KEPT), encoding="utf-8")
        with path.open("ab") as log:
            log.write(f"== {time.strftime('%Y-%m-%d %H:%M:%S')} ==\n".encode())
            log.flush()
            return subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **_paths(), "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", **(environment or {})},
                start_new_session=True,
                creationflags=_NO_WINDOW if os.name == "nt" else 0,
            )
    except OSError as error:
        raise InputError(f"The training cannot be started in {folder}: {error.strerror or error}.") from None


def _paths() -> dict[str, str]:
    """PYTHONPATH on which the new process finds both libraries where this one did."""
    import MSLFusionLib

    here = [str(Path(str(file)).resolve().parents[1]) for file in (MSLFusionLib.__file__, __file__)]
    before = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": os.pathsep.join([*dict.fromkeys(here), *([before] if before else [])])}
