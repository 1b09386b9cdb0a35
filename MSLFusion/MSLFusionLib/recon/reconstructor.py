"""From sensors to hybrid volumes: one encoding per slice, any number of lambdas or lambda maps decoded from it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from MSLFusionLib.cards import outside_training
from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.units import network_to_hu
from MSLFusionLib.progress import NO_JOB, Job, noting
from MSLFusionLib.recon.batches import in_batches
from MSLFusionLib.recon.consistency import Changes, blended
from MSLFusionLib.recon.devices import choose_device, device_name, reproducible, starting_batch
from MSLFusionLib.recon.expected_error import ExpectedErrors
from MSLFusionLib.recon.familiarity import Judge, LatentStatistics, Verdict, set_name, statistics_of
from MSLFusionLib.recon.lambdas import LambdaSpec, scalar_lambda
from MSLFusionLib.recon.noise_level import SensorNoise
from MSLFusionLib.recon.outputs import HYBRID, Outputs, OutputVolume
from MSLFusionLib.recon.simulate import SamplingPlan, Scanners, SensorBatch
from MSLFusionLib.recon.sources import FileSource, SensorData, SliceSource, VolumeOptions, VolumeSource
from MSLFusionLib.recon.trust import Measured, TrustPlan, TrustSummary, trust_maps
from MSLFusionLib.recon.unrolled import unrolled


class LoadedModel(Protocol):
    """A network and its card (io.checkpoints.LoadedModel)."""

    @property
    def model(self) -> Any: ...

    @property
    def card(self) -> dict[str, Any]: ...

    @property
    def name(self) -> str: ...


@dataclass(frozen=True)
class Encoded:
    """All that the hybrids of some slices are made of: the latent, and what data consistency adds."""

    latent: Any
    changes: Changes


@dataclass(frozen=True)
class ReconstructionResult:
    """What a reconstruction gave.

    volumes: empty when they went to a sink. achieved: what was measured (see Scanners.achieved). source: grid,
    scalings and plan for the run record. warnings: the sentences that were also given to the job. consistency:
    whether the images were corrected towards what was measured. synthesised: modalities ("ct", "mr") that were not
    measured, whose share of the images is the network's guess from the other's data. familiarity: whether the input is
    like what the network was trained on. trust: figures of the trust maps (TrustSummary.to_dict), None without maps.
    """

    volumes: list[OutputVolume]
    achieved: dict[str, Any]
    source: dict[str, Any]
    warnings: list[str]
    device: str
    batch: int
    slices: int
    seconds: float
    labels: list[str] = field(default_factory=list)
    consistency: bool = True
    synthesised: tuple[str, ...] = ()
    familiarity: Verdict = field(default_factory=Verdict)
    trust: dict[str, Any] | None = None

    @property
    def hybrids(self) -> list[tuple[str, sitk.Image]]:
        """(label, volume) of each lambda, in the order asked for."""
        return [(volume.label, volume.image) for volume in self.volumes if volume.kind == HYBRID]

    @property
    def others(self) -> dict[str, sitk.Image]:
        """Sensor images and ground truth by kind, where they were asked for."""
        return {volume.kind: volume.image for volume in self.volumes if volume.kind != HYBRID}

    def report(self) -> dict[str, Any]:
        """The JSON-able part, for the run record."""
        return {
            "lambdas": self.labels,
            "achieved": self.achieved,
            "source": self.source,
            "warnings": self.warnings,
            "device": self.device,
            "batch": self.batch,
            "slices": self.slices,
            "consistency": self.consistency,
            "synthesised": list(self.synthesised),
            "familiarity": self.familiarity.to_dict(),
            **({} if self.trust is None else {"trust": self.trust}),
            "seconds": round(self.seconds, 3),
        }


class Reconstructor:
    """A network on a device, ready to reconstruct any number of inputs.

    device: "auto" (CUDA when present), "cpu" or "cuda[:N]". batch: slices at a time; None chooses by device and
    memory. The same call gives the same numbers on the same device. Raises InputError for a device that is not
    there, and for a network that cannot decode lambda.
    """

    def __init__(self, loaded: LoadedModel, device: str = "auto", batch: int | None = None) -> None:
        if batch is not None and batch < 1:
            raise InputError(f"The batch must be 1 slice or more, not {batch}.")
        if loaded.card.get("architecture", "msl") != "msl":
            use = "fuse" if loaded.card["architecture"] == "dc2fusion" else "reconstruct --target FILE --auxiliary FILE"
            raise InputError(
                f"The model '{loaded.name}' does not reconstruct CT and MR: use it with 'mslfusion {use}'."
            )
        if list(loaded.card["modalities"]) != ["ct", "mr"]:
            raise InputError(f"The model '{loaded.name}' is not for CT and MR and cannot be used here.")
        self.device = choose_device(device)
        self.card = loaded.card
        self.name = loaded.name
        self.model = loaded.model.to(self.device).eval()
        self._batch = batch
        card = loaded.card.get("statistics")
        stored = getattr(loaded, "statistics", {})
        self.errors = ExpectedErrors.stored(stored, card).to(self.device)
        self._statistics = statistics_of(stored, card)

    @staticmethod
    def synthesised(source: SliceSource, modalities: Sequence[str] = ("ct", "mr")) -> tuple[str, ...]:
        """The modalities, of "ct" and "mr", that are not measured or must not be seen."""
        scanners = {"ct": source.scanners.ct, "mr": source.scanners.mr}
        return tuple(name for name, scanner in scanners.items() if scanner is None or name not in modalities)

    def statistics(self, source: SliceSource, modalities: Sequence[str] = ("ct", "mr")) -> LatentStatistics | None:
        """What familiar latents of what is measured look like, None where the model does not know."""
        absent = self.synthesised(source, modalities)
        return self._statistics.get(set_name([name for name in ("ct", "mr") if name not in absent]))

    def options(self, pixel_mm: float | None = None, mask_outside: bool = True) -> VolumeOptions:
        """How volumes are brought to this network. pixel_mm: keep this pixel, even where the body does not fit."""
        normalisation = self.card.get("normalisation")
        scaling = normalisation.get("mr") if isinstance(normalisation, dict) else None
        try:
            rows, columns = (int(n) for n in self.card["grid"]["size"])
            pixel = float(self.card["grid"]["pixel_mm"] if pixel_mm is None else pixel_mm)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"The card of the model '{self.name}' is damaged: its grid is no grid.") from error
        return VolumeOptions(
            size=(rows, columns),
            pixel_mm=pixel,
            fixed_pixel=pixel_mm is not None,
            mask_outside=mask_outside,
            mr_scaling="minmax" if "minmax" in str(scaling) else "percentile",
            official_fbp=self.official_fbp,
        )

    def reconstruct(
        self,
        lambdas: Sequence[float | LambdaSpec],
        *,
        ct: sitk.Image | None = None,
        mr: sitk.Image | None = None,
        plan: SamplingPlan | None = None,
        sensors: SensorData | None = None,
        modalities: Sequence[str] = ("ct", "mr"),
        pixel_mm: float | None = None,
        mask_outside: bool = True,
        consistency: bool = True,
        sensor_images: bool = False,
        ground_truth: bool = False,
        trust: TrustPlan | None = None,
        sink: Callable[[OutputVolume], None] | None = None,
        job: Job = NO_JOB,
    ) -> ReconstructionResult:
        """Hybrid volumes on the CT's exact grid, float32 in [0, 1], one per lambda.

        lambdas: numbers, or specifications from recon.lambdas. Either volumes (`ct` in HU and `mr` on the CT's
        grid; one may be absent) measured by `plan`, or `sensors`, an open io.sensors.SensorReader. modalities:
        those the network may see, for reconstruction from one of two. pixel_mm, mask_outside: see `options`.
        consistency: correct what was measured towards the measurement (see recon.consistency). sensor_images: also
        FBP and zero-filled volumes. ground_truth: also what was measured. trust: also maps of how far the images
        can be trusted (see recon.trust), for which each slice is reconstructed again a few times. sink: takes each
        finished volume, which the result then does not keep.

        Raises InputError for unusable input, JobError when a single slice does not fit the memory, Cancelled.
        """
        started = time.monotonic()
        warnings: list[str] = []
        job = noting(job, warnings)
        specs = [spec if isinstance(spec, LambdaSpec) else scalar_lambda(spec) for spec in lambdas]
        if not specs:
            raise InputError("Give at least one lambda.")
        source = self.source(
            ct=ct,
            mr=mr,
            plan=plan,
            sensors=sensors,
            modalities=modalities,
            pixel_mm=pixel_mm,
            mask_outside=mask_outside,
            job=job,
        )
        _check_specs(specs, source)
        outputs = Outputs(source, specs, sensor_images, ground_truth)

        self.prepare(source, modalities, consistency, job)
        judge = Judge(self.statistics(source, modalities))
        summary = None if trust is None else TrustSummary(trust)

        def work(numbers: np.ndarray) -> None:
            data, images = self.sensor_data(source, numbers, job)
            noise = source.noise
            encoded = self.encoded_from(source.scanners, data, noise, images, modalities, consistency, job)
            judge.see(numbers.tolist(), encoded.latent)
            for index, spec in enumerate(specs):
                outputs.put((HYBRID, index), numbers, self._hybrid(source, encoded, spec, numbers))
            outputs.put_images(images, numbers)
            outputs.put_truth(source, numbers)
            if trust is not None and summary is not None:
                measured = Measured(source.scanners, data, noise, images, encoded, modalities, consistency)
                outputs.put_maps(source, trust_maps(self, measured, trust, self.errors, summary, job), numbers)

        stage = "reconstruct" if trust is None else f"reconstruct {trust.passes + 1} times"
        batch = self.in_batches(source, source.occupied, work, stage, job=job)
        synthesised = self.synthesised(source, modalities)
        for name in synthesised:
            job.warning(synthesised_sentence(name))
        verdict = judge.verdict()
        if verdict.unfamiliar:
            job.warning(verdict.sentence)
        volumes = outputs.volumes(sink)
        return ReconstructionResult(
            volumes,
            source.scanners.achieved(),
            source.report(),
            warnings,
            device_name(self.device),
            batch,
            len(source.occupied),
            time.monotonic() - started,
            [spec.label for spec in specs],
            consistency,
            synthesised,
            verdict,
            None if summary is None else summary.to_dict(),
        )

    def source(
        self,
        *,
        ct: sitk.Image | None = None,
        mr: sitk.Image | None = None,
        plan: SamplingPlan | None = None,
        sensors: SensorData | None = None,
        modalities: Sequence[str] = ("ct", "mr"),
        pixel_mm: float | None = None,
        mask_outside: bool = True,
        job: Job = NO_JOB,
    ) -> SliceSource:
        """The slices that `reconstruct` would work on; warns of what the network was not trained on (see cards)."""
        chosen = _modalities(modalities)
        device = str(self.device)
        source: SliceSource
        if sensors is not None:
            if ct is not None or mr is not None:
                raise InputError("Give either volumes or a sensors file, not both.")
            source = FileSource(sensors, device, self.official_fbp, job)
        else:
            ct, mr = (ct if "ct" in chosen else None), (mr if "mr" in chosen else None)
            options = self.options(pixel_mm, mask_outside)
            source = VolumeSource(ct, mr, plan or SamplingPlan(), options, device, job)
        scanners = source.scanners
        measured = [
            name
            for name, scanner in (("ct", scanners.ct), ("mr", scanners.mr))
            if name in chosen and scanner is not None
        ]
        if not measured:
            raise InputError(f"The input holds no data of the chosen modalities ({', '.join(chosen)}).")
        noise = scanners.plan.to_dict() if scanners.plan is not None else (sensors and sensors.header.plan) or {}
        settings = {key: noise.get(key) for key in ("photons", "kspace_sigma")}
        settings |= {**scanners.achieved(), "pixel_mm": source.grid.pixel_mm}
        for sentence in outside_training(self.card, settings, measured):
            job.warning(sentence)
        return source

    def prepare(
        self,
        source: SliceSource,
        modalities: Sequence[str] = ("ct", "mr"),
        consistency: bool = True,
        job: Job = NO_JOB,
    ) -> None:
        """What data consistency needs of all slices at once, before the first is encoded: of an MR that was measured on
        a grid of its own the network's MR (see recon.own_grid). Nothing for others, and nothing a second time."""
        if not (consistency and "mr" in modalities and isinstance(source, FileSource) and source.needs_network):
            return
        network = np.zeros((source.grid.slices, *source.grid.size), np.float32)

        def work(numbers: np.ndarray) -> None:
            latent = self.encode(self.measure(source, numbers, job), modalities)
            network[numbers] = self.decode(latent, 1.0)[:, 0].cpu().numpy()

        self.in_batches(source, source.occupied, work, "prepare data consistency", job=job)
        with reproducible():
            source.correct(network, job)

    def measure(
        self, source: SliceSource, numbers: np.ndarray, job: Job = NO_JOB
    ) -> tuple[Tensor | None, Tensor | None]:
        """Sensor images (FBP, zero-filled) of the slices with these numbers, each (n, 1, H, W) in [0, 1].

        May be cancelled half-way: for the first slices the operators' matrices are made.
        """
        return self.sensor_data(source, numbers, job)[1]

    def sensor_data(
        self, source: SliceSource, numbers: np.ndarray, job: Job = NO_JOB
    ) -> tuple[SensorBatch, tuple[Tensor | None, Tensor | None]]:
        """Sensor data of the slices with these numbers, and the images that `measure` gives."""
        with reproducible():
            batch = source.measure(numbers, self.device)
            job.check()
            return batch, source.scanners.images(batch, job)

    def encoded(
        self,
        source: SliceSource,
        numbers: np.ndarray,
        modalities: Sequence[str] = ("ct", "mr"),
        consistency: bool = True,
        job: Job = NO_JOB,
    ) -> tuple[tuple[Tensor | None, Tensor | None], Encoded]:
        """Sensor images of the slices with these numbers as `measure` gives them, and what `hybrid` needs.

        consistency: also compare the network's CT and MR with the measurement, of those `modalities` that there are.
        """
        data, images = self.sensor_data(source, numbers, job)
        return images, self.encoded_from(source.scanners, data, source.noise, images, modalities, consistency, job)

    def encoded_from(
        self,
        scanners: Scanners,
        data: SensorBatch,
        noise: SensorNoise,
        images: tuple[Tensor | None, Tensor | None],
        modalities: Sequence[str] = ("ct", "mr"),
        consistency: bool = True,
        job: Job = NO_JOB,
    ) -> Encoded:
        """What `hybrid` needs, from the sensor data of some slices and their sensor images (Scanners.images)."""
        job.check()
        latent = self.encode(images, modalities)
        found = Changes()
        if consistency:
            job.check()
            ct, mr = self.decode(latent, 0.0), self.decode(latent, 1.0)
            of_mr = data.kspace if data.kspace is not None else data.mr_consistent
            seen = [
                image if name in modalities and measured is not None else None
                for name, image, measured in zip(("ct", "mr"), images, (data.sinogram, of_mr), strict=True)
            ]
            refiner = getattr(self.model, "refiner", None)
            with reproducible():
                found = unrolled(scanners, data, noise, (ct, mr), (seen[0], seen[1]), refiner, job)
        return Encoded(latent, found)

    def hybrid(self, encoded: Encoded, lam: "float | Tensor") -> Tensor:
        """Hybrid slices float32 (n, 1, H, W) in [0, 1] at a number or a map (n, 1, H, W), corrections included."""
        with torch.inference_mode():
            return blended(self.decode(encoded.latent, lam), lam, encoded.changes)

    def encode(self, images: tuple[Tensor | None, Tensor | None], modalities: Sequence[str] = ("ct", "mr")) -> Any:
        """The latent of sensor images as `measure` gives them, from those of `modalities`; see `decode`."""
        ct, mr = (image if name in modalities else None for name, image in zip(("ct", "mr"), images, strict=True))
        with reproducible(), self._autocast():
            return self.model.encode(ct, mr)

    def decode(self, latent: Any, lam: "float | Tensor") -> Tensor:
        """Hybrid slices float32 (n, 1, H, W) in [0, 1] from a latent, at a number or a map (n, 1, H, W)."""
        with reproducible(), self._autocast():
            return self.model.decode(latent, lam).float().clamp(0.0, 1.0)

    def network_lambda(self, source: SliceSource, planes: np.ndarray) -> Tensor:
        """Lambda maps (n, 1, H, W) for `decode` from planes (n, rows, columns) of the volume turned to the network."""
        return torch.from_numpy(source.grid.to_network(planes, extend=True))[:, None].to(self.device)

    def in_batches(
        self,
        source: SliceSource,
        numbers: np.ndarray,
        work: Callable[[np.ndarray], None],
        stage: str = "reconstruct",
        batch: int | None = None,
        job: Job = NO_JOB,
    ) -> int:
        """Call `work` with the slice numbers in batches, see recon.batches."""
        batch = batch or self._batch or starting_batch(self.device, source.grid.size)
        return in_batches(numbers, work, batch, self.device, stage, job)

    @property
    def official_fbp(self) -> bool:
        """Whether the network expects the authors' unweighted filtered backprojection."""
        return bool(self.card.get("preset") == "official")

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def _hybrid(self, source: SliceSource, encoded: Encoded, spec: LambdaSpec, numbers: np.ndarray) -> np.ndarray:
        """Network slices (n, H, W) of one lambda."""
        lam: float | Tensor
        if spec.volume is not None:
            lam = self.network_lambda(source, source.grid.turned(spec.volume)[numbers])
        else:
            assert spec.value is not None
            lam = spec.value
        return self.hybrid(encoded, lam)[:, 0].cpu().numpy()


def _check_specs(specs: Sequence[LambdaSpec], source: SliceSource) -> None:
    """Raises InputError for a lambda map on another grid and for two lambdas of one name."""
    for spec in specs:
        if spec.volume is not None and spec.volume.shape != source.grid.volume.shape:
            raise InputError(f"The lambda map '{spec.label}' is not on the CT's grid.")
    if len({spec.label for spec in specs}) < len(specs):
        raise InputError("Two of the lambdas have the same name: give each value and map once.")


def synthesised_sentence(name: str) -> str:
    """What has to be said of images of a modality ("ct" or "mr") that was not measured."""
    other = {"ct": "MR", "mr": "CT"}[name]
    return (
        f"The {name.upper()} is synthesised from the {other} data, not measured: take its share of the images for a "
        "guess."
    )


def to_hu(image: sitk.Image) -> sitk.Image:
    """A lambda = 0 (or FBP) volume in HU, float32: 0 becomes -1000 HU, 1 becomes 2125 HU."""
    slope, offset = network_to_hu(1.0) - network_to_hu(0.0), network_to_hu(0.0)
    return sitk.ShiftScale(image, offset / slope, slope, sitk.sitkFloat32)


def _modalities(names: Sequence[str]) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(names))
    if not chosen or any(name not in ("ct", "mr") for name in chosen):
        raise InputError(f"The modalities must be ct, mr or both, not {', '.join(names) or 'none'}.")
    return chosen
