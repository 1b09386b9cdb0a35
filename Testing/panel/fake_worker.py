"""A worker without a process: answers the real protocol from tiny arrays, when the test says so.

worker = FakeWorker()            answers by itself, in later turns of the event loop
worker.held = {"reconstruct"}    requests of these kinds wait until `worker.answer()` (or a cancel)
worker.failures["register"] = "No overlap."
worker.die("The worker ended.")
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import qt

from MSLFusionLib.client import Call, Client
from MSLFusionLib.errors import InputError
from MSLFusionLib.progress import NO_JOB
from MSLFusionLib.wire import Message, Parser, encode
from MSLFusionLib.worker.services import Services

CARD = {
    "name": "msl-ct-t1",
    "architecture": "msl",
    "preset": "msl-lite",
    "modalities": ["ct", "mr"],
    "parameters": 2228900,
    "grid": {"size": [384, 384], "pixel_mm": 0.667},
}


class FakeWorker:
    """In place of MSLFusionPanel.process.Worker."""

    def __init__(self) -> None:
        self.client: Client | None = None
        self.state = "stopped"
        self.where = "local"
        self.generation = 0
        self.info: dict[str, Any] | None = None
        self.on_change: list[Callable[[], None]] = []
        self.on_message: list[Callable[[str], None]] = []
        self.on_log: list[Callable[[str], None]] = []
        self.held: set[str] = set()
        self.failures: dict[str, str] = {}
        self.seen: list[Message] = []
        self.models = [{"name": "msl-ct-t1", "path": "/models/msl-ct-t1.safetensors", "card": CARD}]
        self.sensors: dict[str, Any] | None = None
        self.familiarity: dict[str, Any] = {"score": 0.7, "unfamiliar": False, "sentence": "It looks familiar."}
        self._parser = Parser()
        self._waiting: deque[Message] = deque()
        self._session: dict[str, Any] | None = None
        self._sessions = 0
        self._model = False

    # What process.Worker offers.

    def ensure(self) -> Client:
        if self.client is None:
            self.generation += 1
            self._parser, self._model, self._session = Parser(), False, None
            self.client = Client(self._receive)
            self.state = "running"
            self.info = {"protocol": 1, "versions": {"torch": "2.13.0"}, "torch": True, "cores": 2, "pid": 4711}
            self.info["free_bytes"] = 8 * 2**30
            self._tell(self.on_change)
        return self.client

    def cancel(self, call: Call) -> None:
        if self.client is not None:
            self.client.cancel(call)

    def restart(self, sentence: str) -> None:
        self.die(sentence)
        self.ensure()

    def use_local(self) -> None:
        self.where = "local"
        self.stop()

    def use_remote(self, port: int, token: str) -> None:
        self.where = f"127.0.0.1:{port}"
        self.token = token
        self.stop()

    def stop(self) -> None:
        if self.client is not None:
            client, self.client, self.state, self.info = self.client, None, "stopped", None
            client.closed("The worker was stopped.")
            self._tell(self.on_change)

    # What tests do.

    def kinds(self) -> list[str]:
        """The kinds of the requests so far."""
        return [message.type for message in self.seen]

    def last(self, kind: str) -> Message:
        """The newest request of that kind."""
        return next(message for message in reversed(self.seen) if message.type == kind)

    def waiting(self) -> list[str]:
        """The kinds of the requests that have no answer yet."""
        return [message.type for message in self._waiting]

    def answer(self) -> None:
        """Answer the oldest waiting request, held or not."""
        self._answer(self._waiting.popleft())

    def progress(self, stage: str, done: int, total: int, seconds_left: float | None = None) -> None:
        """Tell the progress of the oldest waiting request."""
        header = {"type": "progress", "id": self._waiting[0].id, "stage": stage, "done": done, "total": total}
        self._send({**header, "seconds_left": seconds_left})

    def die(self, sentence: str = "The worker ended.") -> None:
        """As when the process is gone."""
        client, self.client, self.state, self.info = self.client, None, "stopped", None
        self._waiting.clear()
        self._session, self._model = None, False
        for tell in self.on_message:
            tell(sentence)
        if client is not None:
            client.closed(sentence)
        self._tell(self.on_change)

    # The worker's side.

    def _receive(self, piece: bytes | memoryview) -> None:
        for message in self._parser.feed(piece):
            if message.type == "cancel":
                self._cancel(message.header.get("request"))
            else:
                self.seen.append(message)
                self._drop_older(message)
                self._waiting.append(message)
                qt.QTimer.singleShot(0, self._go_on)

    def _go_on(self) -> None:
        if self._waiting and self._waiting[0].type not in self.held:
            self.answer()
            if self._waiting:
                qt.QTimer.singleShot(0, self._go_on)

    def _cancel(self, number: int | None) -> None:
        for message in list(self._waiting):
            if number in (None, message.id):
                self._waiting.remove(message)
                self._fail(message, "Cancelled.", "cancelled")

    def _drop_older(self, newer: Message) -> None:
        view = newer.header.get("view")
        for message in list(self._waiting):
            if view is not None and message.header.get("view") == view:
                self._waiting.remove(message)
                self._fail(message, "Cancelled.", "superseded")

    def _answer(self, message: Message) -> None:
        if message.type in self.failures:
            self._fail(message, self.failures[message.type], "failed")
            return
        try:
            header, arrays = getattr(self, f"_{message.type}")(message)
        except ValueError as error:
            self._fail(message, str(error), "input")
            return
        self._send({"type": "result", "id": message.id, **header}, arrays)

    def _fail(self, message: Message, sentence: str, reason: str) -> None:
        code = 2 if reason == "input" else 1
        self._send({"type": "error", "id": message.id, "sentence": sentence, "exit_code": code, "reason": reason})

    def _send(self, header: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> None:
        if self.client is not None:
            self.client.receive(b"".join(bytes(piece) for piece in encode(header, arrays)))

    def _tell(self, callbacks: list[Callable[[], None]]) -> None:
        for callback in list(callbacks):
            callback()

    def _hello(self, _message: Message) -> Any:
        return self.info, {}

    def _devices(self, _message: Message) -> Any:
        cpu = {"name": "cpu", "label": "CPU", "free_bytes": 8 * 2**30, "total_bytes": 16 * 2**30}
        gpu = {"name": "cuda:0", "label": "A GPU", "free_bytes": 20 * 2**30, "total_bytes": 24 * 2**30}
        return {"devices": [cpu, gpu]}, {}

    def _models(self, _message: Message) -> Any:
        return {"models": self.models}, {}

    def _open_model(self, message: Message) -> Any:
        self._model, self._session = True, None
        name = message.header["model"]
        return {"name": name, "path": f"/models/{name}", "card": CARD, "device": "cpu", "device_name": "CPU"}, {}

    def _register(self, message: Message) -> Any:
        fixed = message.arrays["fixed"]
        found = {
            "matrix": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            "shift_mm": [2.0, -1.0, 0.5],
            "metric_nats": 0.6,
            "overlap": 0.9,
            "warnings": [],
            "method": message.header.get("method"),
        }
        return {"registration": found}, {"moved": np.full(fixed.shape, 7, np.float32)}

    def _resample(self, message: Message) -> Any:
        x, y, z = message.header["volumes"]["fixed"]["size"]
        return {}, {"moved": np.full((z, y, x), 5, np.float32)}

    def _describe_sensors(self, _message: Message) -> Any:
        if self.sensors is None:
            raise ValueError("The file is no sensors file.")
        return self.sensors, {}

    def _sensor_pictures(self, message: Message) -> Any:
        if self.sensors is None:
            raise ValueError("The file is no sensors file.")
        for kind, shape in (("sinogram", (3, 5, 9)), ("k-space", (2, 6, 7))):
            if message.header.get("sinogram" if kind == "sinogram" else "kspace", "path" in message.header):
                self._parts(message, {kind: np.full(shape, -20 if kind == "k-space" else 2, np.float32)})
        return {"pictures": {}}, {}

    def _reconstruct(self, message: Message) -> Any:
        if not self._model:
            raise ValueError("No model is open: choose one first.")
        volumes = message.header.get("volumes", {})
        geometry = volumes.get("ct") or volumes.get("mr") or (self.sensors or {}).get("geometry")
        x, y, z = geometry["size"]
        self._sessions += 1
        self._session = {"shape": [z, y, x], "slice_axis": 0}
        achieved = {"ct": {"views": 64}, "mr": {"rate": 0.25}}
        result = {"session": self._sessions, "geometry": geometry, "achieved": achieved, **self._session}
        result["familiarity"] = self.familiarity
        if message.header.get("register") and {"sinogram", "kspace"} <= set(message.header):
            result["registration"] = {"shift_mm": [2.0, -1.0, 0.5], "overlap": 0.9, "method": "rigid"}
        return {**result, "occupied": list(range(z)), "source": {}, "latents": {}, "seconds": 0.1}, {}

    def _opened(self, message: Message) -> dict[str, Any]:
        if self._session is None or message.header.get("session", self._sessions) != self._sessions:
            raise ValueError("There is nothing to decode yet: reconstruct first.")
        return self._session

    def _lam(self, message: Message) -> Any:
        return message.arrays.get("lambda", message.header.get("lambda"))

    def _decode_slice(self, message: Message) -> Any:
        _z, y, x = self._opened(message)["shape"]
        plane = np.zeros((y, x), np.float32) + np.asarray(self._lam(message), np.float32)
        return {"index": message.header["index"], "slice_axis": 0}, {"plane": plane}

    def _decode_volume(self, message: Message) -> Any:
        session = self._opened(message)
        volume = np.zeros(session["shape"], np.float32) + np.asarray(self._lam(message), np.float32)
        self._parts(message, {"hybrid": volume})
        return dict(session), {}

    def _sensor_images(self, message: Message) -> Any:
        session = self._opened(message)
        shape = session["shape"]
        self._parts(message, {"fbp": np.full(shape, 0.3, np.float32), "zero-filled": np.full(shape, 0.4, np.float32)})
        return dict(session), {}

    def _trust(self, message: Message) -> Any:
        session = self._opened(message)
        used = self.last("reconstruct").header.get("modalities", ["ct", "mr"])
        kinds = ["uncertainty-ct", "uncertainty-mr", *(f"residual-{name}" for name in used)]
        levels = np.linspace(0.0, 0.2, int(np.prod(session["shape"])), dtype=np.float32).reshape(session["shape"])
        self._parts(message, dict.fromkeys(kinds, levels))
        uncertainty = {name: {"mean": 0.1, "p95": 0.19, "calibrated": True} for name in ("ct", "mr")}
        residual = {name: {"mean": 0.1, "p95": 0.19, "network": 0.03, "delivered": 0.001} for name in used}
        trust = {"passes": message.header["passes"], "uncertainty": uncertainty, "residual": residual}
        return {**session, "trust": trust}, {}

    def _parts(self, message: Message, volumes: dict[str, np.ndarray]) -> None:
        for kind, volume in volumes.items():
            for number in range(len(volume)):
                header = {"type": "part", "id": message.id, "kind": kind, "slices": [number]}
                self._send(header, {"planes": volume[number : number + 1]})

    def search_part(self, number: int, values: list[float], finished: bool = False, lam: float = 0.8) -> None:
        """A part of the oldest waiting search: lambda 0.4 in this slice, with more points of the curve."""
        message = self._waiting[0]
        _z, y, x = self._opened(message)["shape"]
        header = {"type": "part", "id": message.id, "kind": "lambda", "slices": [number], "finished": finished}
        header |= {"curve": [[step, value] for step, value in enumerate(values)], "value": values[-1]}
        self._send({**header, "best_constant": [lam, 1.0]}, {"planes": np.full((1, y, x), 0.4, np.float32)})

    def _optimize_lambda(self, message: Message) -> Any:
        shape = self._opened(message)["shape"]
        first, last = message.header.get("slices", [0, shape[0] - 1])
        for number in range(first, last + 1):
            self._send_search(message, number)
        return {"complete": True, "value": 1.5, "best_constants": 1.0, "slices": []}, {}

    def _send_search(self, message: Message, number: int) -> None:
        self._waiting.appendleft(message)
        self.search_part(number, [1.0, 1.2, 1.5], True)
        self._waiting.popleft()

    def _metrics(self, message: Message) -> Any:
        self._opened(message)
        rows = [_row(f"lambda {lam:g}", "hybrid", lam) for lam in message.header["lambdas"]]
        for name, own in (("FBP", "ct"), ("zero-filled", "mr")):
            row = _row(name, "sensor", None)
            rows.append({key: row[key] for key in row if "_" not in key or key.endswith(own)})
        return {"rows": rows}, {}

    def _methods(self, message: Message) -> Any:
        return really("methods", message)

    def _fuse(self, message: Message) -> Any:
        return really("fuse", message)

    def _restore(self, message: Message) -> Any:
        return really("restore", message)

    def _phantom(self, _message: Message) -> Any:
        geometry = {"size": [8, 7, 6], "spacing_mm": [1, 1, 2], "origin_mm": [0, 0, 0]}
        geometry["direction"] = [1, 0, 0, 0, 1, 0, 0, 0, 1]
        ct = np.linspace(-1000, 1500, 8 * 7 * 6, dtype=np.float32).reshape(6, 7, 8)
        return {"volumes": {"ct": geometry, "mr": geometry}}, {"ct": ct, "mr": ct / 1000 + 1}


def really(kind: str, message: Message) -> Any:
    """The answer of the real worker, which is quick for these."""
    try:
        return Services().handler(kind)(message, NO_JOB, lambda *_part: None)
    except InputError as error:
        raise ValueError(str(error)) from error


def _row(image: str, kind: str, lam: float | None) -> dict[str, Any]:
    mixed = 0.0 if lam is None else lam
    row: dict[str, Any] = {"image": image, "kind": kind, "lambda": lam}
    for target, distance in (("ct", mixed), ("mr", 1 - mixed)):
        row |= {f"mae_{target}": 0.01 + distance / 10, f"psnr_{target}": 36.0 - 10 * distance}
        row |= {f"ssim_{target}": 0.9 - distance / 2, f"mi_{target}": 1.5 - distance}
    return row
