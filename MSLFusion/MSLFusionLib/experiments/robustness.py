"""How reconstructions stand up to less data, shifted images, noise and a missing modality, the network's beside others.

Whole network slices in [0, 1], sensors simulated. Each condition of each volume is kept in a file as soon as it is
done, so that an interrupted run goes on where it was.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MSLFusionLib import metrics
from MSLFusionLib.errors import Cancelled, InputError
from MSLFusionLib.experiments.classical import TV_CT, TV_MR, WAVELET_MR, Classical, pixel_blend
from MSLFusionLib.experiments.conditions import Condition, MovedSource
from MSLFusionLib.io.atomic import atomic_path
from MSLFusionLib.io.runs import plain
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.sources import VolumeSource

if TYPE_CHECKING:
    import SimpleITK as sitk

    from MSLFusionLib.recon.reconstructor import Reconstructor

FBP, ZERO_FILLED, MSL, NETWORK, FUSION = "FBP", "zero-filled", "MSL", "network alone", "blend of the truths"
SENSOR_BLEND, TV_BLEND = "blend of FBP and zero-filled", "blend of TV CT and TV MR"
CAP_DB = 100.0
"""Of a PSNR: beyond, two images are the same."""
_PARTS = 4
_FORMAT = 1


@dataclass(frozen=True)
class Volume:
    """A pair to run on: CT in HU and MR on one grid. key: of its content and what it is called; see `keyed`."""

    name: str
    ct: "sitk.Image"
    mr: "sitk.Image"
    key: str

    @classmethod
    def keyed(cls, name: str, ct: "sitk.Image", mr: "sitk.Image") -> "Volume":
        """The volume with the key of its content."""
        import SimpleITK as sitk

        digest = hashlib.sha256()
        for image in (ct, mr):
            digest.update(sitk.GetArrayViewFromImage(image).tobytes() + repr(image.GetSpacing()).encode())
        return cls(name, ct, mr, digest.hexdigest()[:16])


@dataclass(frozen=True)
class Cell:
    """A condition of a volume, done. rows: figures of each slice; pictures: of one slice, by method and lambda."""

    condition: Condition
    volume: str
    rows: list[dict[str, Any]]
    pictures: dict[str, np.ndarray]
    weights: dict[str, float]


def run(
    reconstructor: "Reconstructor",
    model_key: str,
    volumes: Sequence[Volume],
    chosen: Sequence[Condition],
    classical: Classical,
    folder: Path,
    slices: int = 5,
    job: Job = NO_JOB,
) -> list[Cell]:
    """All conditions of all volumes; those that `folder` holds already are read from there.

    model_key: what tells this network from others. slices: of each volume, evenly from end to end. Raises InputError
    for volumes that cannot be measured, Cancelled, which leaves what is done in the folder.
    """
    if slices < 1:
        raise InputError("The comparison needs at least one slice.")
    folder.mkdir(parents=True, exist_ok=True)
    job = replace(job, warn=_once(job))
    work = [(volume, condition) for volume in volumes for condition in chosen]
    found: list[Cell] = []
    todo = len(work) * _PARTS
    try:
        for number, (volume, condition) in enumerate(work):
            parts = ["cell", _FORMAT, model_key, volume.key, condition.to_dict(), slices, plain(vars(classical.effort))]
            key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]
            stored = _read(folder / key, condition, volume.name)
            if stored is None:
                steps = _Steps(job, number * _PARTS, todo)
                stored = _compute(reconstructor, volume, condition, classical, slices, steps)
                _write(folder / key, stored)
            found.append(stored)
    except Cancelled:
        raise Cancelled(f"Cancelled: what is done is kept in {folder}; the same command goes on from there.") from None
    job.step("robustness", todo, todo)
    return found


def _once(job: Job) -> Callable[[str], None]:
    """Hands each warning on once: conditions share most of them."""
    said: set[str] = set()

    def warn(sentence: str) -> None:
        if sentence not in said:
            said.add(sentence)
            job.warning(sentence)

    return warn


@dataclass
class _Steps:
    """Progress over all conditions, in parts of one; the work inside is asked to stop, but does not report."""

    job: Job
    done: int
    total: int

    @property
    def quiet(self) -> Job:
        return replace(self.job, report=None)

    def next(self) -> Job:
        self.job.step("robustness", self.done, self.total)
        self.done += 1
        return self.quiet


def _compute(
    reconstructor: "Reconstructor",
    volume: Volume,
    condition: Condition,
    classical: Classical,
    slices: int,
    steps: _Steps,
) -> Cell:
    quiet = steps.next()
    source = reconstructor.source(ct=volume.ct, mr=volume.mr, plan=condition.plan, job=quiet)
    if not isinstance(source, VolumeSource):
        raise InputError("A robustness run needs volumes.")
    if condition.shift:
        source = MovedSource(source, condition.shift)
    occupied = source.occupied
    numbers = occupied[np.linspace(0, len(occupied) - 1, min(slices, len(occupied))).round().astype(int)]
    ct, mr = source.truth(numbers)
    assert ct is not None
    assert mr is not None
    shown: dict[tuple[str, float], np.ndarray] = {}
    weights: dict[str, float] = {}
    for side, names in (("ct", (TV_CT,)), ("mr", (TV_MR, WAVELET_MR))):
        quiet = steps.next()
        for name in names:
            if side in condition.modalities:
                shown[name, 0.0 if side == "ct" else 1.0] = classical.images(
                    name, source, numbers, condition.plan, quiet
                )
                weights[name] = classical.weight(name, condition.plan, quiet)
    shown |= _network(reconstructor, source, numbers, condition.modalities, steps.next())
    if condition.modalities == ("ct", "mr"):
        shown[SENSOR_BLEND, 0.5] = pixel_blend(shown[FBP, 0.0], shown[ZERO_FILLED, 1.0], 0.5)
        shown[TV_BLEND, 0.5] = pixel_blend(shown[TV_CT, 0.0], shown[TV_MR, 1.0], 0.5)
        shown[FUSION, 0.5] = pixel_blend(ct, mr, 0.5)
    rows = []
    for (name, lam), images in shown.items():
        targets = {0.0: ("ct",), 1.0: ("mr",)}.get(lam, ("ct", "mr"))
        for target in targets:
            truths = ct if target == "ct" else mr
            for number, image, truth in zip(numbers.tolist(), images, truths, strict=True):
                rows.append(
                    {"slice": number, "method": name, "lambda": lam, "target": target, **_figures(image, truth)}
                )
    middle = len(numbers) // 2
    pictures = {f"{name}|{lam:g}": images[middle] for (name, lam), images in shown.items()}
    pictures |= {"truth|0": ct[middle], "truth|1": mr[middle]}
    return Cell(condition, volume.name, rows, pictures, weights)


def _network(
    reconstructor: "Reconstructor", source: VolumeSource, numbers: np.ndarray, modalities: tuple[str, ...], job: Job
) -> dict[tuple[str, float], np.ndarray]:
    """Sensor images, and the network's with data consistency and without, by method and lambda."""
    from MSLFusionLib.recon.consistency import Changes

    found: dict[tuple[str, float], list[np.ndarray]] = {}
    for part in numbers[:, None]:
        job.check()
        images, encoded = reconstructor.encoded(source, part, modalities, True, job)
        for name, lam, side, image in zip((FBP, ZERO_FILLED), (0.0, 1.0), ("ct", "mr"), images, strict=True):
            if image is not None and side in modalities:
                found.setdefault((name, lam), []).append(image[0, 0].float().cpu().numpy())
        for lam in (0.0, 0.5, 1.0):
            found.setdefault((MSL, lam), []).append(reconstructor.hybrid(encoded, lam)[0, 0].cpu().numpy())
        bare = replace(encoded, changes=Changes())
        for lam, side in ((0.0, "ct"), (1.0, "mr")):
            if side in modalities:
                found.setdefault((NETWORK, lam), []).append(reconstructor.hybrid(bare, lam)[0, 0].cpu().numpy())
    return {key: np.stack(images) for key, images in found.items()}


def _figures(image: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    shared, normalised = metrics.information(metrics.joint_histogram(image, truth, limits=(0.0, 1.0)))
    return {
        "mae": metrics.mae(image, truth),
        "psnr": min(CAP_DB, metrics.psnr(image, truth)),
        "ssim": metrics.ssim(image, truth),
        "mi": shared,
        "nmi": normalised,
    }


def _write(stem: Path, cell: Cell) -> None:
    """The pictures, then the figures: a cell is there when its figures are."""
    with atomic_path(stem.with_suffix(".npz")) as temporary, open(temporary, "wb") as file:
        pictures = {name: np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8) for name, image in cell.pictures.items()}
        np.savez_compressed(file, **pictures)
    content = {"condition": cell.condition.to_dict(), "volume": cell.volume, "weights": cell.weights, "rows": cell.rows}
    with atomic_path(stem.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(plain(content), allow_nan=False) + "\n", encoding="utf-8")


def _read(stem: Path, condition: Condition, volume: str) -> Cell | None:
    path = stem.with_suffix(".json")
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        with np.load(stem.with_suffix(".npz"), allow_pickle=False) as stored:
            pictures = {name: stored[name].astype(np.float32) / 255 for name in stored.files}
        return Cell(condition, volume, list(content["rows"]), pictures, dict(content["weights"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged: remove it, it will be made again.") from error


def table(cells: Sequence[Cell]) -> Iterator[dict[str, Any]]:
    """All figures of all slices as rows of one table."""
    for cell in cells:
        about = {"group": cell.condition.group, "condition": cell.condition.name, "volume": cell.volume}
        for row in cell.rows:
            yield about | row
