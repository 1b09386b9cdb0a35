"""What a training leaves to look at: log.csv, validation.jsonl, pictures, and TensorBoard where it is installed."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from MSLFusionLib.io.atomic import atomic_path

LOG, VALIDATION, SAMPLES, BOARD = "log.csv", "validation.jsonl", "samples", "tensorboard"
LATEST = "sample.npz"
"""The pictures of the last validation as numbers: iteration, roles, images (n, 3, H, W)."""
TERMS = ("loss", "reconstruction", "fusion", "feature", "aux", "consistent", "gradient_norm")
_COLUMNS = ("iteration", "learning_rate", "seconds_per_iteration", *TERMS)


class Logs:
    """The logs in the folder of a run, cut back to `iteration` when the run goes on from there."""

    def __init__(self, folder: Path, iteration: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        _cut(folder / LOG, lambda line: _number(line.split(",")[0]), iteration, ",".join(_COLUMNS))
        _cut(folder / VALIDATION, _json_iteration, iteration)
        self._board = _board(folder / BOARD, iteration)

    def step(self, iteration: int, rate: float, seconds: float, terms: dict[str, float]) -> None:
        """One row: the iteration, its learning rate, seconds per iteration and the loss terms."""
        with (self.folder / LOG).open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow([iteration, rate, round(seconds, 5), *(terms.get(name, "") for name in TERMS)])
        if self._board is not None:
            for name, value in terms.items():
                self._board.add_scalar(f"train/{name}", value, iteration)
            self._board.add_scalar("train/learning_rate", rate, iteration)

    def validation(
        self, iteration: int, result: dict[str, Any], roles: Sequence[str], images: Sequence[Sequence[np.ndarray]]
    ) -> None:
        """One line of figures, and a picture: a row for each modality of sensor image, network, truth.

        The last picture is kept as numbers, too.
        """
        with (self.folder / VALIDATION).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"iteration": iteration, **result}) + "\n")
        mosaic = np.concatenate([np.concatenate(row, 1) for row in images], 0).clip(0, 1)
        with atomic_path(self.folder / LATEST) as temporary:
            np.savez(temporary, iteration=iteration, roles=list(roles), images=np.asarray(images, np.float32))
        from matplotlib import image as files

        with atomic_path(self.folder / SAMPLES / f"iteration-{iteration:06d}.png") as temporary:
            files.imsave(temporary, mosaic, cmap="gray", vmin=0, vmax=1)
        if self._board is not None:
            for role in roles:
                for kind, value in result[role]["network"].items():
                    self._board.add_scalar(f"validation/{role}/{kind}", value, iteration)
            self._board.add_image("validation/sensor, network, truth", mosaic, iteration, dataformats="HW")

    def close(self) -> None:
        """Write out what TensorBoard has not yet written."""
        if self._board is not None:
            self._board.close()


def _board(folder: Path, iteration: int) -> Any:
    """A TensorBoard writer, or None where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        return None
    return SummaryWriter(str(folder), purge_step=iteration + 1 if iteration else None)


def _cut(path: Path, place: Any, iteration: int, head: str = "") -> None:
    """Drop the lines after `iteration`, and one that was half-written when the process was killed."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    kept = [line for line in lines if 0 < place(line) <= iteration]
    if head:
        kept.insert(0, head)
    if kept or lines:
        with atomic_path(path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else -1


def _json_iteration(line: str) -> int:
    try:
        return int(json.loads(line)["iteration"])
    except (ValueError, KeyError, TypeError):
        return -1
