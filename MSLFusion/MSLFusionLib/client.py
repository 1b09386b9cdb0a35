"""The client's side of the conversation with `mslfusion worker`: no Qt, no torch, no transport.

    client = Client(send)              send(bytes-like) writes to the worker's standard input
    client.receive(data)               call with whatever bytes come from its standard output
    client.closed("The worker ended.") call when the process is gone: open requests fail, nothing hangs
    client.decode_slice(12, 0.3, view="Red", on_result=show)

Every request calls exactly one of on_result and on_error, or on_dropped where a newer request for the same view took
its place. Callbacks run inside `receive` (or `closed`), on the caller's thread. What the requests mean and give is
in Docs/worker.md.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from MSLFusionLib.wire import Message, Parser, encode

CANCELLED, SUPERSEDED, LOST = "cancelled", "superseded", "worker lost"
"""Reasons of a Failure beside "input", "failed" and "fault": the user's cancel, a newer request, no worker left."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Where a volume lies, without its voxels: size x, y, z, spacing in mm, origin in mm LPS, cosines row by row."""

    size: Sequence[int]
    spacing: Sequence[float] = (1.0, 1.0, 1.0)
    origin: Sequence[float] = (0.0, 0.0, 0.0)
    direction: Sequence[float] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    def geometry(self) -> dict[str, Any]:
        """What the header says about it."""
        return {
            "size": [int(n) for n in self.size],
            "spacing_mm": [float(v) for v in self.spacing],
            "origin_mm": [float(v) for v in self.origin],
            "direction": [float(v) for v in self.direction],
        }


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume as it goes over the wire: array (z, y, x), spacing in mm, origin in mm LPS, cosines row by row."""

    array: np.ndarray
    spacing: Sequence[float] = (1.0, 1.0, 1.0)
    origin: Sequence[float] = (0.0, 0.0, 0.0)
    direction: Sequence[float] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    def geometry(self) -> dict[str, Any]:
        """What the header says about it."""
        return Grid(self.array.shape[::-1], self.spacing, self.origin, self.direction).geometry()


@dataclass(frozen=True)
class Failure:
    """Why a request gave no result: one sentence for the user, the command line's exit code, and a word (`reason`)."""

    sentence: str
    exit_code: int
    reason: str


def _nothing(*_: Any) -> None:
    """The callback that was not given."""


@dataclass(eq=False)
class Call:
    """One request under way, and how it ended: result, failure or dropped."""

    id: int
    request: str
    on_result: Callable[[Message], None] = _nothing
    on_error: Callable[[Failure], None] = _nothing
    on_progress: Callable[[dict[str, Any]], None] = _nothing
    on_warning: Callable[[str], None] = _nothing
    on_part: Callable[[Message], None] = _nothing
    on_dropped: Callable[[], None] = _nothing
    result: Message | None = None
    failure: Failure | None = None
    dropped: bool = False
    warnings: list[str] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """True when nothing more will come."""
        return self.result is not None or self.failure is not None or self.dropped


class Client:
    """Requests to a worker and the callbacks that wait for its answers.

    on_trouble: called with one sentence when the stream is damaged; end the process then. The callbacks of a request
    are keyword arguments: on_result(Message), on_error(Failure), on_progress(dict with stage, done, total,
    seconds_left), on_warning(str), on_part(Message), on_dropped().
    """

    def __init__(self, send: Callable[[bytes | memoryview], Any], on_trouble: Callable[[str], None] = _nothing) -> None:
        self._send = send
        self._on_trouble = on_trouble
        self._parser = Parser()
        self._calls: dict[int, Call] = {}
        self._next = 1
        self._inbox: deque[Message] = deque()
        self._dispatching = False

    @property
    def calls(self) -> list[Call]:
        """The requests that have no answer yet, oldest first."""
        return list(self._calls.values())

    def request(
        self,
        request: str,
        parameters: Mapping[str, Any] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
        **callbacks: Any,
    ) -> Call:
        """Send any request; entries of `parameters` that are None are left out."""
        given = {key: value for key, value in (parameters or {}).items() if value is not None}
        call = Call(self._next, request, **callbacks)
        pieces = encode({**given, "type": request, "id": call.id}, arrays)
        self._next += 1
        self._calls[call.id] = call
        for piece in pieces:
            self._send(piece)
        return call

    def cancel(self, call: Call | None = None) -> None:
        """Stop one request, or all of them; each still ends in its on_error, with the reason "cancelled"."""
        target = {} if call is None else {"request": call.id}
        for piece in encode({"type": "cancel", **target}):
            self._send(piece)

    def login(self, token: str, **callbacks: Any) -> Call:
        """The first request to a worker that listens on a port; on no other."""
        return self.request("login", {"token": token}, **callbacks)

    def hello(self, **callbacks: Any) -> Call:
        """Versions and processor of the worker; answers before torch is loaded."""
        return self.request("hello", **callbacks)

    def devices(self, **callbacks: Any) -> Call:
        """The devices a model can run on, with their free memory; loads torch."""
        return self.request("devices", **callbacks)

    def models(self, folders: Sequence[str] | None = None, **callbacks: Any) -> Call:
        """The models with their cards: shipped ones, the user's, and those in `folders`."""
        return self.request("models", {"folders": None if folders is None else list(folders)}, **callbacks)

    def methods(self, folders: Sequence[str] | None = None, **callbacks: Any) -> Call:
        """All methods, what each takes and whether it can run here (MSLFusionLib.methods)."""
        return self.request("methods", {"folders": None if folders is None else list(folders)}, **callbacks)

    def open_model(self, model: str, device: str = "auto", **callbacks: Any) -> Call:
        """Load a model by name or file; ends the session of the one before."""
        return self.request("open_model", {"model": model, "device": device}, **callbacks)

    def phantom(
        self,
        seed: int = 0,
        size: Sequence[int] | None = None,
        spacing_mm: Sequence[float] | None = None,
        tumour: bool | None = None,
        misalign_mm: float = 0.0,
        misalign_deg: float = 0.0,
        moving_size: Sequence[int] | None = None,
        moving_spacing_mm: Sequence[float] | None = None,
        **callbacks: Any,
    ) -> Call:
        """A generated head: CT, and T1 on the CT's grid or, with one of the last four, as a scan of its own."""
        grids: dict[str, Sequence[float] | None] = {"size": size, "spacing_mm": spacing_mm}
        grids |= {"moving_size": moving_size, "moving_spacing_mm": moving_spacing_mm}
        parameters: dict[str, Any] = {name: values and list(values) for name, values in grids.items()}
        parameters |= {"seed": seed, "tumour": tumour, "misalign_mm": misalign_mm, "misalign_deg": misalign_deg}
        return self.request("phantom", parameters, **callbacks)

    def register(
        self,
        fixed: Volume,
        moving: Volume,
        method: str | None = None,
        preset: str = "msl",
        start: str = "auto",
        seed: int = 0,
        **callbacks: Any,
    ) -> Call:
        """Align an MR with a CT."""
        parameters = {"method": method, "preset": preset, "start": start, "seed": seed}
        return self._with_volumes("register", parameters, {"fixed": fixed, "moving": moving}, callbacks)

    def resample(
        self,
        fixed: Grid | Volume,
        moving: Volume,
        matrix: np.ndarray | Sequence[Sequence[float]] | None = None,
        fill: float | None = None,
        **callbacks: Any,
    ) -> Call:
        """Bring a volume onto the grid of another, of which only the grid is sent.

        matrix: 4 x 4, fixed points to moving points in LPS (default: they lie right already). fill: the value outside
        of the moving volume, by default its smallest.
        """
        parameters = {
            "volumes": {"fixed": fixed.geometry(), "moving": moving.geometry()},
            "matrix": None if matrix is None else np.asarray(matrix, float).ravel().tolist(),
            "fill": fill,
        }
        return self.request("resample", parameters, {"moving": moving.array}, **callbacks)

    def fuse(
        self,
        first: Volume,
        second: Volume,
        method: str,
        settings: Mapping[str, Any] | None = None,
        modalities: Sequence[str] = ("auto", "auto"),
        slicewise: bool = False,
        measure: bool = True,
        **callbacks: Any,
    ) -> Call:
        """Fuse two volumes of one grid by a method of MSLFusionLib.fusion.registry; needs no open model."""
        parameters: dict[str, Any] = {"method": method, "settings": dict(settings or {})}
        parameters |= {"modalities": list(modalities), "slicewise": slicewise, "measure": measure}
        return self._with_volumes("fuse", parameters, {"first": first, "second": second}, callbacks)

    def describe_sensors(
        self,
        path: str | None = None,
        sinogram: str | None = None,
        kspace: str | None = None,
        coils: str | None = None,
        select: Mapping[str, int] | None = None,
        **callbacks: Any,
    ) -> Call:
        """What measured data are: a sensors file, or a sinogram and k-space (one may be absent)."""
        return self.request("describe_sensors", _measured(path, sinogram, kspace, coils, select), **callbacks)

    def sensor_pictures(
        self,
        path: str | None = None,
        sinogram: str | None = None,
        kspace: str | None = None,
        select: Mapping[str, int] | None = None,
        **callbacks: Any,
    ) -> Call:
        """Sinogram (line integrals) and k-space (decibels) slice by slice, in parts; needs no model."""
        return self.request("sensor_pictures", _measured(path, sinogram, kspace, None, select), **callbacks)

    def reconstruct(
        self,
        ct: Volume | None = None,
        mr: Volume | None = None,
        plan: Mapping[str, Any] | None = None,
        sensors: str | None = None,
        modalities: Sequence[str] = ("ct", "mr"),
        pixel_mm: float | None = None,
        latent_mb: float | None = None,
        consistency: bool = True,
        sinogram: str | None = None,
        kspace: str | None = None,
        coils: str | None = None,
        select: Mapping[str, int] | None = None,
        register: bool | None = None,
        **callbacks: Any,
    ) -> Call:
        """Measure and encode an input, so that it can be decoded: a session.

        sensors: a sensors file. sinogram, kspace: files of raw data; coils: "rss" or "espirit"; select: of ISMRMRD
        data; register: whether an MR measured in a frame of its own is registered to the CT (by default it is).
        """
        parameters = {
            **_measured(None, sinogram, kspace, coils, select),
            "plan": None if plan is None else dict(plan),
            "sensors": sensors,
            "register": register,
            "modalities": list(modalities),
            "pixel_mm": pixel_mm,
            "latent_mb": latent_mb,
            "consistency": consistency,
        }
        volumes = {name: volume for name, volume in (("ct", ct), ("mr", mr)) if volume is not None}
        return self._with_volumes("reconstruct", parameters, volumes, callbacks)

    def decode_slice(
        self,
        index: int,
        lam: float | np.ndarray,
        view: str = "",
        session: int | None = None,
        **callbacks: Any,
    ) -> Call:
        """One plane of the hybrid, at a number or a map in the plane; a newer call for the same view replaces it."""
        return self._decode("decode_slice", {"index": index, "view": view, "session": session}, lam, callbacks)

    def decode_volume(
        self,
        lam: float | np.ndarray,
        view: str | None = None,
        session: int | None = None,
        **callbacks: Any,
    ) -> Call:
        """The hybrid volume in parts, at a number or a map; with `view`, a newer call for it stops this one."""
        return self._decode("decode_volume", {"view": view, "session": session}, lam, callbacks)

    def sensor_images(self, session: int | None = None, **callbacks: Any) -> Call:
        """FBP and zero-filled volumes in parts."""
        return self.request("sensor_images", {"session": session}, **callbacks)

    def metrics(self, lambdas: Sequence[float], session: int | None = None, **callbacks: Any) -> Call:
        """How near the hybrids at these lambdas, and the sensor images, are to what was measured."""
        return self.request("metrics", {"lambdas": list(lambdas), "session": session}, **callbacks)

    def restore(
        self,
        auxiliary: Volume,
        target: Volume | None = None,
        plan: Mapping[str, Any] | None = None,
        model: str | None = None,
        sensors: str | None = None,
        kspace: str | None = None,
        coils: str | None = None,
        select: Mapping[str, int] | None = None,
        contrasts: Sequence[str] | None = None,
        scale: int | None = None,
        place: str | None = None,
        registration: Mapping[str, Any] | None = None,
        consistency: bool = True,
        compare: bool = False,
        measure: bool = True,
        device: str = "auto",
        **callbacks: Any,
    ) -> Call:
        """Restore one MR contrast with another by CMF-Net: a volume `target`, measured by `plan`, or k-space.

        contrasts: auxiliary and target, which with `scale` choose a model where none is named. place: "the same",
        "resampled" or "registered"; registration: its method, preset, start and seed.
        """
        parameters = {
            **_measured(None, None, kspace, coils, select),
            "plan": None if plan is None else dict(plan),
            "model": model,
            "sensors": sensors,
            "contrasts": None if contrasts is None else list(contrasts),
            "scale": scale,
            "place": place,
            "registration": None if registration is None else dict(registration),
            "consistency": consistency,
            "compare": compare,
            "measure": measure,
            "device": device,
        }
        volumes = {"auxiliary": auxiliary} | ({} if target is None else {"target": target})
        return self._with_volumes("restore", parameters, volumes, callbacks)

    def trust(self, passes: int = 4, seed: int = 0, session: int | None = None, **callbacks: Any) -> Call:
        """Maps of how far the images can be trusted, in parts, and their figures; takes `passes` reconstructions."""
        return self.request("trust", {"passes": passes, "seed": seed, "session": session}, **callbacks)

    def optimize_lambda(
        self,
        objective: str | None = None,
        alpha: float | None = None,
        steps: int | None = None,
        smoothness: float | None = None,
        slices: Sequence[int] | None = None,
        start: int | None = None,
        weights: np.ndarray | None = None,
        session: int | None = None,
        **callbacks: Any,
    ) -> Call:
        """Find a lambda map; its planes come in parts of the kind "lambda", also those found before a cancel."""
        parameters: dict[str, Any] = {"objective": objective, "alpha": alpha, "steps": steps}
        parameters |= {"smoothness": smoothness}
        parameters |= {"slices": slices and list(slices), "start": start, "session": session}
        arrays = None if weights is None else {"weights": weights}
        return self.request("optimize_lambda", parameters, arrays, **callbacks)

    def shutdown(self, **callbacks: Any) -> Call:
        """Cancel everything and end the worker."""
        return self.request("shutdown", **callbacks)

    def receive(self, data: bytes | bytearray | memoryview) -> None:
        """Bytes from the worker. An error in a callback is raised after all messages were delivered."""
        before = self._parser.broken
        self._inbox.extend(self._parser.feed(data))
        if self._dispatching:  # a callback let the event loop run: the call below it delivers these too
            return
        self._dispatching = True
        problem: Exception | None = None
        try:
            while self._inbox:
                try:
                    self._deliver(self._inbox.popleft())
                except Exception as error:
                    problem = problem or error
        finally:
            self._dispatching = False
        if self._parser.broken != before:
            self.closed(f"The worker's answers are damaged: {self._parser.broken}")
            self._on_trouble(str(self._parser.broken))
        if problem is not None:
            raise problem

    def closed(self, sentence: str = "The worker ended.") -> None:
        """The worker is gone: every open request fails with `sentence`."""
        calls, self._calls = self.calls, {}
        failure = Failure(sentence, 1, LOST)
        for call in calls:
            call.failure = failure
        for call in calls:
            call.on_error(failure)

    def _with_volumes(
        self, request: str, parameters: dict[str, Any], volumes: dict[str, Volume], callbacks: dict[str, Any]
    ) -> Call:
        parameters["volumes"] = {name: volume.geometry() for name, volume in volumes.items()}
        return self.request(request, parameters, {name: v.array for name, v in volumes.items()}, **callbacks)

    def _decode(
        self, request: str, parameters: dict[str, Any], lam: float | np.ndarray, callbacks: dict[str, Any]
    ) -> Call:
        if isinstance(lam, np.ndarray):
            return self.request(request, parameters, {"lambda": lam}, **callbacks)
        return self.request(request, {**parameters, "lambda": float(lam)}, **callbacks)

    def _deliver(self, message: Message) -> None:
        call = self._calls.get(message.id) if message.id is not None else None
        header = message.header
        if call is None:
            if message.type == "error" and message.id is None:
                self._on_trouble(str(header.get("sentence")))
        elif message.type == "progress":
            call.on_progress(header)
        elif message.type == "warning":
            call.warnings.append(str(header.get("sentence")))
            call.on_warning(call.warnings[-1])
        elif message.type == "part":
            call.on_part(message)
        elif message.type == "result":
            del self._calls[call.id]
            call.result = message
            call.on_result(message)
        elif message.type == "error":
            del self._calls[call.id]
            if header.get("reason") == SUPERSEDED:
                call.dropped = True
                call.on_dropped()
            else:
                code = header.get("exit_code")
                code = code if isinstance(code, int) else 1
                call.failure = Failure(str(header.get("sentence")), code, str(header.get("reason")))
                call.on_error(call.failure)


def _measured(
    path: str | None, sinogram: str | None, kspace: str | None, coils: str | None, select: Mapping[str, int] | None
) -> dict[str, Any]:
    """The fields by which requests name measured data."""
    fields = {"path": path, "sinogram": sinogram, "kspace": kspace, "coils": coils}
    return fields | {"select": dict(select) if select else None}


class Assembler:
    """The volumes that the parts of decode_volume or sensor_images make up, by kind ("hybrid", "fbp", "zero-filled").

    shape, slice_axis: as the result of `reconstruct` tells. Pass `add` as on_part. What no part covers is background.
    """

    def __init__(self, shape: Sequence[int], slice_axis: int) -> None:
        self._shape = tuple(shape)
        self._axis = slice_axis
        self.volumes: dict[str, np.ndarray] = {}

    def add(self, part: Message) -> None:
        """Put the planes of one part in their place."""
        kind = str(part.header["kind"])
        volume = self.volumes.setdefault(kind, np.zeros(self._shape, np.float32))
        np.moveaxis(volume, self._axis, 0)[part.header["slices"]] = part.arrays["planes"]
