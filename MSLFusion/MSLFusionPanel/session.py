"""The model that the worker has open, and the reconstruction whose latents it holds."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from MSLFusionLib.errors import InputError, JobError
from MSLFusionPanel.inputs import Inputs, volume_from_node
from MSLFusionPanel.task import ask

if TYPE_CHECKING:
    from MSLFusionPanel.logic import MSLFusionLogic

_LATENT_SHARE, _LEAST_MB, _MOST_MB = 0.3, 64.0, 4096.0
"""Latents may take this share of the worker's free memory, within these limits."""


@dataclass(frozen=True)
class OpenModel:
    """generation: of the worker process that has it open. wanted: the inputs' model, folder and device."""

    generation: int
    wanted: tuple[str, str, str]
    name: str
    device_name: str
    card: dict[str, Any]


@dataclass(frozen=True)
class OpenSession:
    """What the worker's answer to `reconstruct` told, and what it was asked with.

    number: the worker's; generation: of the worker process that holds it. shape: of the volume array (z, y, x).
    slice_axis: of that array. geometry: size, spacing_mm, origin_mm, direction in LPS. achieved: sampling rates.
    familiarity: whether the input is like what the model was trained on, see recon.familiarity.Verdict.to_dict.
    registration: of an MR measured in a frame of its own, see registration.Registration.to_dict.
    """

    number: int
    generation: int
    inputs: Inputs
    key: tuple[Any, ...]
    model: OpenModel
    shape: tuple[int, int, int]
    slice_axis: int
    geometry: dict[str, Any]
    achieved: dict[str, Any]
    familiarity: dict[str, Any]
    registration: dict[str, Any] | None = None

    def fits(self, inputs: Inputs, generation: int) -> bool:
        """Whether it still is the session of these inputs, held by the present worker."""
        return self.generation == generation and self.key == inputs.key()

    @property
    def synthesised(self) -> str | None:
        """The modality that no measurement was used for ("ct" or "mr"), None where both were."""
        missing = {"ct", "mr"} - set(self.inputs.modalities)
        return missing.pop() if missing else None


def open_session(logic: "MSLFusionLogic", inputs: Inputs) -> Generator[Any, Any, OpenSession]:
    """Steps of a task: the session of these inputs, the present one where it fits; `logic.session` is set.

    Raises InputError and JobError with a sentence for the user; WorkerError from the worker.
    """
    hello = (yield ask("hello")).header
    generation = logic.worker.generation
    if logic.session is not None and logic.session.fits(inputs, generation):
        return logic.session
    model = yield from _open_model(logic, inputs, hello)
    free_mb = float(hello.get("free_bytes") or 0) / 2**20
    arguments: dict[str, Any] = {"modalities": inputs.modalities, "consistency": inputs.consistency}
    if inputs.sensors is not None:
        arguments["sensors"] = inputs.sensors
    elif inputs.raw:
        arguments |= inputs.raw
    else:
        arguments["plan"] = inputs.plan
        for name, node in (("ct", inputs.ct), ("mr", inputs.mr)):
            if node is not None:
                arguments[name] = volume_from_node(node)
    key = inputs.key()
    latent_mb = min(max(free_mb * _LATENT_SHARE, _LEAST_MB), _MOST_MB)
    found = (yield ask("reconstruct", **arguments, latent_mb=latent_mb)).header
    if logic.worker.generation != generation:
        raise JobError(_("The worker was started anew meanwhile: press the button again."))
    logic.session = OpenSession(
        found["session"],
        generation,
        inputs,
        key,
        model,
        tuple(found["shape"]),
        found["slice_axis"],
        found["geometry"],
        found["achieved"],
        found.get("familiarity") or {},
        found.get("registration"),
    )
    return logic.session


def _open_model(logic: "MSLFusionLogic", inputs: Inputs, hello: dict[str, Any]) -> Generator[Any, Any, OpenModel]:
    if not hello.get("torch"):
        raise JobError(
            _("PyTorch is not installed where the worker runs: install it with the PyTorch extension, then try again.")
        )
    wanted = (inputs.model, inputs.model_folder, inputs.device)
    generation = logic.worker.generation
    if logic.opened is not None and (logic.opened.generation, logic.opened.wanted) == (generation, wanted):
        return logic.opened
    folders = [inputs.model_folder] if inputs.model_folder else []
    models = (yield ask("models", folders)).header["models"]
    if inputs.model:
        chosen = [one for one in models if inputs.model in (one["name"], one["path"])]
    else:  # the default, as in models.ModelList and on the command line
        chosen = [one for one in models if one["card"].get("modalities") == ["ct", "mr"]] or models
    if not chosen:
        raise InputError(_("There is no model called {name}: choose another one.").format(name=inputs.model or "-"))
    logic.session = logic.opened = None  # opening a model ends the worker's session
    found = (yield ask("open_model", chosen[0]["path"], inputs.device)).header
    logic.opened = OpenModel(generation, wanted, found["name"], found["device_name"], found["card"])
    return logic.opened
