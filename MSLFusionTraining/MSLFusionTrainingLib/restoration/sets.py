"""Slices to train on, and volumes to validate on: of generated heads, of a prepared set, or of fastMRI files."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from MSLFusionLib.errors import InputError
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionTrainingLib.data import Slices, head_seeds, load_heads
from MSLFusionTrainingLib.prepare.store import read_set
from MSLFusionTrainingLib.prepared import StoredSlices, load_prepared, settled
from MSLFusionTrainingLib.restoration import fastmri
from MSLFusionTrainingLib.restoration.config import RestorationConfig


def with_data(config: RestorationConfig) -> RestorationConfig:
    """The configuration with what its training set decides, if it has one: grid and contrasts.

    Raises InputError when one of them was set to something else than the set has, or it holds no two MR contrasts.
    """
    if config.pairs:
        return replace(config, pixel_mm=fastmri.pixel_mm(fastmri.read_table(config.pairs)))
    if not config.data:
        return config
    stored = read_set(config.data)
    if len(stored.modalities) != 2 or {"ct", "pet"} & {*stored.modalities, *stored.kinds}:
        raise InputError(f"{config.data} holds {', '.join(stored.modalities)}: CMF-Net learns from two MR contrasts.")
    values: dict[str, Any] = {"size": stored.size, "pixel_mm": stored.pixel_mm, "contrasts": stored.modalities}
    if config.name == RestorationConfig(network=config.network, scale=config.scale).name:
        values["name"] = ""  # that of the set's contrasts
    settled_config: RestorationConfig = settled(config, values)
    return settled_config


def training_slices(config: RestorationConfig, cache: Path, workers: int = 1, job: Job = NO_JOB) -> Slices:
    """The slices to train on; heads that the cache folder lacks are generated first, those for validation too."""
    if config.data:
        return load_prepared(config.data, job)[0]
    if config.pairs:
        return fastmri.PairSlices(_fastmri_files(config, cache, False, job))
    train, validation = head_seeds(config)
    load_heads(config, train + validation, cache, workers, job)
    return load_heads(config, train, cache)


def validation_volumes(config: RestorationConfig, cache: Path) -> list[Slices]:
    """The slices of each volume to validate on; the first training volume where none is kept for it."""
    if config.data:
        stored = read_set(config.data)
        patients = stored.of_split("validation") or stored.of_split("train")[:1]
        return [StoredSlices(stored, [one.id]) for one in patients]
    if config.pairs:
        paths = _fastmri_files(config, cache, True) or _fastmri_files(config, cache, False)[:1]
        return [fastmri.PairSlices([path]) for path in paths]
    train, validation = head_seeds(config)
    return [load_heads(config, [seed], cache) for seed in validation or train[:1]]


def _fastmri_files(config: RestorationConfig, cache: Path, validation: bool, job: Job = NO_JOB) -> list[Path]:
    chosen = [pair for pair in fastmri.read_table(config.pairs) if pair.validation == validation]
    paths = []
    for done, pair in enumerate(chosen):
        job.step("read fastMRI files", done, len(chosen))
        paths.append(fastmri.prepared(pair, config.size, cache, Job(cancelled=job.cancelled)))
    return paths
