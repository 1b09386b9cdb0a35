"""What the worker can do, request by request, and what it keeps between them: a model and a session.

Each handler takes the request, a job, and a function that sends a part of the answer; it gives the result's header
and arrays. Torch and SimpleITK are imported inside the handlers, so that `hello` answers at once.
"""

import importlib.util
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MSLFusionLib.errors import InputError, MSLFusionError
from MSLFusionLib.progress import Job
from MSLFusionLib.sensor_names import ZERO_FILLED
from MSLFusionLib.wire import PROTOCOL, Message
from MSLFusionLib.worker import fields, fusion, optimising, raw, restoration
from MSLFusionLib.worker.machine import devices, free_memory

if TYPE_CHECKING:
    import SimpleITK as sitk

    from MSLFusionLib.recon.reconstructor import Reconstructor
    from MSLFusionLib.recon.session import Session

Answer = tuple[dict[str, Any], dict[str, np.ndarray]]
SendPart = Callable[[Mapping[str, Any], Mapping[str, np.ndarray]], None]
Handler = Callable[[Message, Job, SendPart], Answer]


_LARGEST = 1e30


class OutdatedSession(MSLFusionError):
    """The request was meant for a session that another one has replaced."""


@dataclass(eq=False)
class _Open:
    """A session and what belongs to it: the volume whose body counts for metrics, and files to close."""

    number: int
    session: "Session"
    reference: "tuple[sitk.Image, str] | None"
    files: ExitStack
    body: np.ndarray | None = field(default=None)


class Services:
    """The model and the session of one worker."""

    def __init__(self) -> None:
        self._reconstructor: Reconstructor | None = None
        self._model_file: Path | None = None
        self._open: _Open | None = None
        self._sessions = 0
        self._handlers: dict[str, Handler] = {
            "hello": self._hello,
            "devices": self._devices,
            "models": self._models,
            "methods": self._methods,
            "open_model": self._open_model,
            "describe_sensors": self._describe_sensors,
            "sensor_pictures": self._sensor_pictures,
            "phantom": self._phantom,
            "register": self._register,
            "resample": self._resample,
            "reconstruct": self._reconstruct,
            "decode_slice": self._decode_slice,
            "decode_volume": self._decode_volume,
            "sensor_images": self._sensor_images,
            "metrics": self._metrics,
            "trust": self._trust,
            "optimize_lambda": self._optimize_lambda,
            "fusion_methods": fusion.fusion_methods,
            "fuse": fusion.fuse_volumes,
            "restore": restoration.restore_volume,
        }

    def handler(self, request: str) -> Handler:
        """What answers this kind of request; raises InputError when nothing does."""
        if request not in self._handlers:
            raise InputError(f"Unknown request '{request}': use one of {', '.join(self._handlers)}.")
        return self._handlers[request]

    def close(self) -> None:
        """Give up the session."""
        if self._open is not None:
            self._open.files.close()
            self._open = None

    def tidy(self) -> None:
        """After a failure: give memory that nothing holds any more back to the GPU."""
        if self._reconstructor is not None and self._reconstructor.device.type == "cuda":
            import torch

            torch.cuda.empty_cache()

    def _hello(self, _message: Message, _job: Job, _part: SendPart) -> Answer:
        from MSLFusionLib.io.runs import versions

        return {
            "protocol": PROTOCOL,
            "versions": versions(),
            "torch": importlib.util.find_spec("torch") is not None,
            "cores": os.cpu_count(),
            "free_bytes": free_memory(),
            "pid": os.getpid(),
            "model": None if self._model_file is None else str(self._model_file),
        }, {}

    def _devices(self, _message: Message, _job: Job, _part: SendPart) -> Answer:
        return {"devices": devices()}, {}

    def _models(self, message: Message, _job: Job, _part: SendPart) -> Answer:
        from MSLFusionLib.io.checkpoints import list_models

        found = list_models([Path(folder) for folder in fields.texts(message, "folders", ())])
        return {"models": [{"name": info.name, "path": str(info.path), "card": info.card} for info in found]}, {}

    def _methods(self, message: Message, _job: Job, _part: SendPart) -> Answer:
        from MSLFusionLib import methods
        from MSLFusionLib.io.checkpoints import list_models

        folders = [Path(folder) for folder in fields.texts(message, "folders", ())]
        rows = methods.all_methods(list_models(folders, architecture=None))
        return {"methods": [row.to_dict() for row in rows], "tasks": methods.TASKS}, {}

    def _open_model(self, message: Message, job: Job, _part: SendPart) -> Answer:
        from MSLFusionLib.io.checkpoints import find_model, load_checkpoint

        path = find_model(fields.text(message, "model"))
        device = fields.text(message, "device", "auto")
        batch = fields.whole(message, "batch") if "batch" in message.header else None
        job.step("open model", 0, 3)
        from MSLFusionLib.recon.devices import choose_device, device_name
        from MSLFusionLib.recon.reconstructor import Reconstructor

        choose_device(device)  # before anything is read
        job.step("open model", 1, 3)
        loaded = load_checkpoint(path)
        job.step("open model", 2, 3)
        reconstructor = Reconstructor(loaded, device, batch)
        job.step("open model", 3, 3)
        self.close()
        self._reconstructor, self._model_file = reconstructor, path
        return {
            "name": loaded.name,
            "path": str(path),
            "card": loaded.card,
            "device": str(self._reconstructor.device),
            "device_name": device_name(self._reconstructor.device),
        }, {}

    def _phantom(self, message: Message, job: Job, _part: SendPart) -> Answer:
        import SimpleITK as sitk

        from MSLFusionLib.phantom import generate_head
        from MSLFusionLib.recon.geometry import VolumeGeometry

        started = time.monotonic()
        keys = {"size": "size", "spacing_mm": "spacing", "moving_size": "moving_size"}
        keys["moving_spacing_mm"] = "moving_spacing"
        grids: dict[str, Any] = {
            name: fields.numbers(message, key) for key, name in keys.items() if key in message.header
        }
        head = generate_head(
            fields.whole(message, "seed", 0),
            tumour=fields.flag(message, "tumour"),
            misalign_mm=fields.number(message, "misalign_mm", 0.0),
            misalign_deg=fields.number(message, "misalign_deg", 0.0),
            job=job,
            **grids,
        )
        images = {"ct": head.ct, "mr": head.t1 if head.moving is None else head.moving}
        return {
            "volumes": {name: VolumeGeometry.of(image).to_dict() for name, image in images.items()},
            "seconds": time.monotonic() - started,
        }, {name: sitk.GetArrayFromImage(image) for name, image in images.items()}

    def _register(self, message: Message, job: Job, _part: SendPart) -> Answer:
        import SimpleITK as sitk

        from MSLFusionLib.registration import register, resample

        fixed, moving = fields.volume(message, "fixed"), fields.volume(message, "moving")
        if fixed is None or moving is None:
            raise InputError("To register, send both volumes: 'fixed' (CT) and 'moving' (MR).")
        found = register(
            fixed,
            moving,
            fields.text(message, "preset", "msl"),
            fields.text(message, "method") if "method" in message.header else None,
            fields.whole(message, "seed", 0),
            fields.text(message, "start", "auto"),
            job,
        )
        moved = resample(moving, fixed, found.transform)
        return {"registration": found.to_dict()}, {"moved": sitk.GetArrayFromImage(moved)}

    def _resample(self, message: Message, job: Job, _part: SendPart) -> Answer:
        import SimpleITK as sitk

        from MSLFusionLib.registration import grids_overlap, resample

        moving = fields.volume(message, "moving")
        if moving is None:
            raise InputError("To resample, send the volume 'moving' and the geometry of 'fixed'.")
        fixed, transform = fields.grid(message, "fixed").grid_only(), fields.transform(message, "matrix")
        fill = fields.number(message, "fill") if "fill" in message.header else None
        if fill is not None and abs(fill) > _LARGEST:
            raise InputError(f"The value {fill:g} is too large to fill a volume with.")
        if not grids_overlap(fixed, moving, transform):
            raise InputError("The two volumes have no point in common where they lie now: register them first.")
        job.step("resample", 0, 1)
        moved = resample(moving, fixed, transform, fill, must_overlap=False)
        job.step("resample", 1, 1)
        return {}, {"moved": sitk.GetArrayFromImage(moved)}

    def _describe_sensors(self, message: Message, job: Job, _part: SendPart) -> Answer:
        return raw.described(message, self._options(), job), {}

    def _sensor_pictures(self, message: Message, job: Job, part: SendPart) -> Answer:
        return {"pictures": raw.pictures(message, _sender(part), job)}, {}

    def _reconstruct(self, message: Message, job: Job, _part: SendPart) -> Answer:
        from MSLFusionLib.recon.latents import DEFAULT_CAP
        from MSLFusionLib.recon.session import Session
        from MSLFusionLib.recon.simulate import SamplingPlan

        started = time.monotonic()
        reconstructor = self._model()
        cap = round(fields.number(message, "latent_mb", DEFAULT_CAP / 2**20) * 2**20)
        plan = SamplingPlan.from_dict(fields.table(message, "plan"))
        modalities = fields.texts(message, "modalities", ("ct", "mr"))
        consistency = fields.flag(message, "consistency") is not False
        ct, mr = fields.volume(message, "ct"), fields.volume(message, "mr")
        pixel = fields.number(message, "pixel_mm") if "pixel_mm" in message.header else None
        registration = None
        with ExitStack() as files:
            reader = None
            if "sensors" in message.header or raw.named(message):
                reader = raw.opened(message, files, reconstructor.options(pixel), job)
                registration = raw.registered(message, reader, modalities, str(reconstructor.device), job)
            source = reconstructor.source(
                ct=ct,
                mr=mr,
                plan=plan,
                sensors=reader,
                modalities=modalities,
                pixel_mm=pixel,
                job=job,
            )
            session = Session(reconstructor, source, modalities, cap, consistency)
            if self._open is not None:
                # Memory for one set of latents only; should this be cancelled, the old session encodes again.
                self._open.session.latents.clear()
            session.encode(job)
            if session.verdict().unfamiliar:
                job.warning(session.verdict().sentence)
            self.close()
            self._sessions += 1
            reference = None if reader is not None else (ct, "ct") if ct is not None else (mr, "mr")
            self._open = _Open(self._sessions, session, reference, files.pop_all())
        grid, latents = session.grid, session.latents
        return {
            "session": self._sessions,
            "geometry": grid.volume.to_dict(),
            "shape": list(grid.volume.shape),
            "slice_axis": grid.slice_axis,
            "occupied": source.occupied.tolist(),
            "achieved": source.scanners.achieved(),
            "source": source.report(),
            "consistency": consistency,
            "synthesised": list(session.synthesised),
            "familiarity": session.verdict().to_dict(),
            "registration": registration,
            "latents": {"slices": len(latents), "bytes": latents.nbytes, "precision": latents.precision},
            "seconds": time.monotonic() - started,
        }, {}

    def _decode_slice(self, message: Message, job: Job, _part: SendPart) -> Answer:
        session = self._session(message).session
        index = fields.whole(message, "index")
        plane = session.plane(index, fields.lam(message), job)
        return {"index": index, "slice_axis": session.grid.slice_axis}, {"plane": plane}

    def _decode_volume(self, message: Message, job: Job, part: SendPart) -> Answer:
        session = self._session(message).session
        session.hybrid(fields.lam(message), _sender(part), job)
        return _placed(session), {}

    def _sensor_images(self, message: Message, job: Job, part: SendPart) -> Answer:
        session = self._session(message).session
        session.sensor_images(_sender(part), job)
        return _placed(session), {}

    def _trust(self, message: Message, job: Job, part: SendPart) -> Answer:
        from MSLFusionLib.recon.trust import PASSES, TrustPlan

        session = self._session(message).session
        plan = TrustPlan(fields.whole(message, "passes", PASSES), fields.whole(message, "seed", 0))
        found = session.trust(_sender(part), plan, job)
        return {**_placed(session), "trust": found, "familiarity": session.verdict().to_dict()}, {}

    def _optimize_lambda(self, message: Message, job: Job, part: SendPart) -> Answer:
        return optimising.optimize_lambda(self._session(message).session, message, job, part)

    def _metrics(self, message: Message, job: Job, _part: SendPart) -> Answer:
        from MSLFusionLib import pipeline
        from MSLFusionLib.recon import outputs
        from MSLFusionLib.recon.body import body_mask
        from MSLFusionLib.recon.lambdas import scalar_lambda

        current = self._session(message)
        session, grid = current.session, current.session.grid
        specs = [scalar_lambda(value) for value in dict.fromkeys(fields.numbers(message, "lambdas"))]
        images: dict[str, sitk.Image] = {}

        def collect(fill: Callable[..., None], *arguments: Any) -> None:
            arrays: dict[str, np.ndarray] = {}

            def put(kind: str, numbers: np.ndarray, planes: np.ndarray) -> None:
                volume = arrays.setdefault(kind, np.zeros(grid.volume.shape, np.float32))
                np.moveaxis(volume, grid.slice_axis, 0)[numbers] = planes

            fill(*arguments, put, job)
            images.update({kind: grid.volume.image(array) for kind, array in arrays.items()})

        collect(session.ground_truth)
        collect(session.sensor_images)
        truth = {outputs.TRUTH_CT: "ct", outputs.TRUTH_MR: "mr"}
        references = {name: images[kind] for kind, name in truth.items() if kind in images}
        shown = {outputs.FBP: session.source.scanners.ct_image, outputs.ZERO_FILLED: ZERO_FILLED}
        sensors = {name: images[kind] for kind, name in shown.items() if kind in images}
        if current.body is None and current.reference is not None:
            current.body = body_mask(*current.reference, job=Job(cancelled=job.cancelled))
        assert current.body is not None
        rows = []
        for spec in specs:
            collect(session.hybrid, spec.value)
            pair = (spec, images.pop(outputs.HYBRID))
            rows += pipeline.measure([pair], {}, references, current.body, grid.slice_axis, job)
        rows += pipeline.measure([], sensors, references, current.body, grid.slice_axis, job)
        return {"rows": rows}, {}

    def _model(self) -> "Reconstructor":
        if self._reconstructor is None:
            raise InputError("No model is open: choose one first.")
        return self._reconstructor

    def _session(self, message: Message) -> _Open:
        """The session; raises InputError when there is none, OutdatedSession when another one was meant."""
        if self._open is None:
            raise InputError("There is nothing to decode yet: reconstruct first.")
        if "session" in message.header and fields.whole(message, "session") != self._open.number:
            raise OutdatedSession("That reconstruction was replaced by a newer one.")
        return self._open

    def _options(self) -> Any:
        """How the open model sees its input, None without one."""
        return None if self._reconstructor is None else self._reconstructor.options()


def _sender(part: SendPart) -> Callable[[str, np.ndarray, np.ndarray], None]:
    return lambda kind, numbers, planes: part({"kind": kind, "slices": numbers.tolist()}, {"planes": planes})


def _placed(session: "Session") -> dict[str, Any]:
    """Where the planes of parts belong."""
    return {"shape": list(session.grid.volume.shape), "slice_axis": session.grid.slice_axis}
